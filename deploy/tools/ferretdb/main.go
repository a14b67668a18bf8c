// Command ferretdb serves the MongoDB wire protocol on a local port, with its
// data in SQLite files. The tests of what is kept in MongoDB run on it where no
// real server is given; services/docs/adr/0006 says what it cannot do. It prints
// "ready" with its address and ends when its standard input does.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "ferretdb:", err)
		os.Exit(1)
	}
}

func run() error {
	listen := flag.String("listen", "127.0.0.1:0", "loopback `address` to listen on; port 0 means any free one")
	state := flag.String("state", "", "existing `folder` for the data (default a temporary one)")
	flag.Parse()
	host, _, err := net.SplitHostPort(*listen)
	if err != nil {
		return fmt.Errorf("-listen %s: %w", *listen, err)
	}
	// Nobody has to sign in here.
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("-listen %s: want a loopback address", *listen)
	}
	if *state == "" {
		dir, err := os.MkdirTemp("", "ferretdb-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		*state = dir
	}
	db, err := ferretdb.New(&ferretdb.Config{
		Listener: ferretdb.ListenerConfig{TCP: *listen},
		Logger:   slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Handler:  "sqlite",
		// Nothing here has to survive a power loss.
		SQLiteURL: "file:" + *state + "/?_pragma=synchronous(off)",
	})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		// Whoever started it may die without saying so.
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	// The address is known as soon as it runs.
	go func() { fmt.Println("ready", db.MongoDBURI()) }()
	return db.Run(ctx)
}
