package hubtest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// serviceSecret is what the programs of a cluster know each other by.
const serviceSecret = "hubtest-service-secret-made-up"

// Cluster starts the five programs and an event server on dataDir and waits
// until all are ready.
func Cluster(ctx context.Context, dataDir string) (*Hub, error) {
	addrs, err := freeAddrs(11)
	if err != nil {
		return nil, err
	}
	events, err := startEvents(filepath.Join(dataDir, "events"))
	if err != nil {
		return nil, err
	}
	http, auth, roster, ingest, readiness := addrs[0], addrs[1], addrs[2], addrs[3], addrs[4]
	h := &Hub{HTTPURL: "http://" + http, GRPCAddr: roster, SFTPAddr: addrs[10], DataDir: dataDir, events: events}
	for i, p := range []struct {
		name, addr string
		args       []string
	}{
		{"auth", auth, nil},
		{"roster-store", roster, nil},
		{"readiness-engine", readiness, nil},
		{"ingest", ingest, []string{"--sftp-addr", addrs[10]}},
		{"gateway", "", []string{"--http-addr", http}},
	} {
		admin := addrs[5+i]
		args := append([]string{
			"--admin-addr", admin, "--data-dir", filepath.Join(dataDir, p.name), "--nats-url", events.ClientURL(),
			"--auth-addr", auth, "--roster-addr", roster, "--ingest-addr", ingest, "--readiness-addr", readiness,
			"--service-secret", serviceSecret, "--drain", "0s",
		}, p.args...)
		if p.addr != "" {
			args = append(args, "--grpc-addr", p.addr)
		}
		if err := h.start(ctx, p.name, args...); err != nil {
			return nil, errors.Join(err, h.Stop())
		}
		if err := h.waitReady(ctx, "http://"+admin); err != nil {
			return nil, errors.Join(err, h.Stop())
		}
	}
	return h, h.waitReady(ctx, h.HTTPURL)
}

// startEvents runs the event server of a cluster inside the test.
func startEvents(dir string) (*server.Server, error) {
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true,
	})
	if err != nil {
		return nil, fmt.Errorf("make the event server: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		s.Shutdown()
		return nil, errors.New("the event server did not start within 10 s")
	}
	return s, nil
}
