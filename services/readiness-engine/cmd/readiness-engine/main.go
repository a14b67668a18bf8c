// Command readiness-engine checks whether rosters are ready for each product.
package main

import (
	"context"
	"fmt"
	"path/filepath"

	"gocloud.dev/blob/fileblob"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/platform/lifecycle"
	"github.com/securly/sync/services/platform/process"
	readiness "github.com/securly/sync/services/readiness-engine"
)

func main() {
	process.Main(process.Program{
		Name:  "readiness-engine",
		Short: "Checks whether rosters are ready for each product",
		Build: build,
	})
}

func build(ctx context.Context, env *process.Env) (process.Parts, error) {
	docs, err := env.Docs()
	if err != nil {
		return process.Parts{}, err
	}
	findings, err := fileblob.OpenBucket(filepath.Join(env.Settings.DataDir, "findings"),
		&fileblob.Options{CreateDir: true, NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
	if err != nil {
		return process.Parts{}, fmt.Errorf("open the findings: %w", err)
	}
	env.Opened.Push("findings", findings.Close)
	bus, err := env.Bus(ctx)
	if err != nil {
		return process.Parts{}, err
	}
	roster, err := env.Connect(env.Settings.RosterAddr)
	if err != nil {
		return process.Parts{}, err
	}
	ingest, err := env.Connect(env.Settings.IngestAddr)
	if err != nil {
		return process.Parts{}, err
	}
	service, err := readiness.New(
		readiness.Config{TokenKey: []byte(env.Settings.ServiceSecret.Reveal())},
		readiness.Deps{
			Docs: docs, Blobs: findings, Bus: bus, Log: env.Log,
			Roster:    rosterv1.NewRosterServiceClient(roster),
			Districts: ingestv1.NewDistrictServiceClient(ingest), Sources: ingestv1.NewSourceServiceClient(ingest), Syncs: ingestv1.NewSyncServiceClient(ingest),
		})
	if err != nil {
		return process.Parts{}, err
	}
	return process.Parts{
		Register: service.Register,
		Run:      []lifecycle.Component{{Name: "readiness-engine", Run: service.Run}},
	}, nil
}
