// Command ingest brings rosters into the hub.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/ingest"
	"github.com/securly/sync/services/platform/lifecycle"
	"github.com/securly/sync/services/platform/process"
)

func main() {
	var cfg ingest.Config
	var secretsKey, sftpAddr string
	process.Main(process.Program{
		Name:  "ingest",
		Short: "Brings rosters into the hub",
		Flags: func(f *pflag.FlagSet) {
			f.Int64Var(&cfg.MaxUpload, "max-upload", 2<<30, "the largest upload, in `bytes`")
			f.StringVar(&secretsKey, "secrets-key", "", "the `URL` of the key that secrets of sources are sealed with; empty means a file in the data folder")
			f.StringVar(&sftpAddr, "sftp-addr", "", "`address` of the SFTP server that districts drop files into, :2222 for example; empty means none")
			f.Var(&cfg.Mail.Server, "smtp-url", "mail server for notifications, smtp://user:password@host:587 for example; empty means that nobody is told")
			f.StringVar(&cfg.Mail.From, "mail-from", "", "sender of notifications, an e-mail `address`")
			f.StringVar(&cfg.Mail.PublicURL, "public-url", "", "`URL` at which people open the hub, for links in mails")
			f.IntVar(&cfg.Concurrency, "concurrency", 2, "how many sources are synced at the same time")
		},
		Build: func(ctx context.Context, env *process.Env) (process.Parts, error) {
			return build(ctx, env, cfg, secretsKey, sftpAddr)
		},
	})
}

func build(ctx context.Context, env *process.Env, cfg ingest.Config, secretsKey, sftpAddr string) (process.Parts, error) {
	var none process.Parts
	docs, err := env.Docs()
	if err != nil {
		return none, err
	}
	bus, err := env.Bus(ctx)
	if err != nil {
		return none, err
	}
	blobs, err := bucket(filepath.Join(env.Settings.DataDir, "files"))
	if err != nil {
		return none, err
	}
	env.Opened.Push("files", blobs.Close)
	roster, err := env.Connect(env.Settings.RosterAddr)
	if err != nil {
		return none, err
	}
	readiness, err := env.Connect(env.Settings.ReadinessAddr)
	if err != nil {
		return none, err
	}
	keeper, err := ingest.OpenKeeper(ctx, secretsKey, filepath.Join(env.Settings.DataDir, "secrets.key"))
	if err != nil {
		return none, err
	}
	env.Opened.Push("secrets", keeper.Close)
	cfg.TempDir = filepath.Join(env.Settings.DataDir, "temporary")
	cfg.TokenKey = []byte(env.Settings.ServiceSecret.Reveal())
	var sftp net.Listener
	if sftpAddr != "" {
		if sftp, err = new(net.ListenConfig).Listen(ctx, "tcp", sftpAddr); err != nil {
			return none, fmt.Errorf("listen for SFTP: %w: choose another address with --sftp-addr", err)
		}
	}
	cfg.SFTPKey = filepath.Join(env.Settings.DataDir, "sftp_host_key")
	service, err := ingest.New(cfg, ingest.Deps{
		SFTP: sftp,
		Docs: docs, Bus: bus, Blobs: blobs, Secrets: keeper, Log: env.Log,
		Roster: rosterv1.NewRosterServiceClient(roster), Readiness: readinessv1.NewReadinessServiceClient(readiness),
		RosterUpkeep: rosterv1.NewUpkeepServiceClient(roster), ReadinessUpkeep: readinessv1.NewUpkeepServiceClient(readiness),
	})
	if err != nil {
		return none, err
	}
	env.Opened.Push("ingest", service.Close)
	return process.Parts{
		Register: service.Register,
		Run:      []lifecycle.Component{{Name: "ingest", Run: service.Run}},
	}, nil
}

// bucket keeps files in a folder, written there under other names first.
func bucket(dir string) (*blob.Bucket, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for files: %w", err)
	}
	return fileblob.OpenBucket(dir, &fileblob.Options{NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
}
