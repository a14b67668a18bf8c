package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const startTimeout = 30 * time.Second

// Embedded is a NATS server inside this process. It opens no port.
type Embedded struct {
	server *server.Server
	conn   *nats.Conn
}

// StartEmbedded starts a server that keeps its streams in dir. An acknowledged
// event is on disk: the server's default would sync every two minutes.
func StartEmbedded(dir string, log *slog.Logger) (*Embedded, error) {
	s, err := server.NewServer(&server.Options{
		ServerName: "securly-sync",
		DontListen: true,
		NoSigs:     true,
		JetStream:  true,
		StoreDir:   dir,
		SyncAlways: true,
	})
	if err != nil {
		return nil, fmt.Errorf("start embedded event server in %s: %w", dir, err)
	}
	s.SetLoggerV2(serverLog{log}, false, false, false)
	s.Start()
	e := &Embedded{server: s}
	if !s.ReadyForConnections(startTimeout) {
		return nil, errors.Join(fmt.Errorf("start embedded event server in %s: not ready after %s: look for its errors in the log", dir, startTimeout), e.Close())
	}
	if e.conn, err = connect("", log, nats.InProcessServer(s)); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// Conn returns the connection to the server; Close closes it.
func (e *Embedded) Conn() *nats.Conn { return e.conn }

// Close stops the server.
func (e *Embedded) Close() error {
	if e.conn != nil {
		e.conn.Close()
	}
	e.server.Shutdown()
	e.server.WaitForShutdown()
	return nil
}

// Connect connects to a NATS cluster and reconnects for ever.
func Connect(url string, log *slog.Logger) (*nats.Conn, error) { return connect(url, log) }

func connect(url string, log *slog.Logger, opts ...nats.Option) (*nats.Conn, error) {
	conn, err := nats.Connect(url, append(opts,
		nats.Name("securly-sync"),
		nats.MaxReconnects(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("events: connection lost", "error", err)
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) { log.Info("events: connected again", "server", c.ConnectedUrlRedacted()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Error("events: error on the connection", "error", err)
		}),
	)...)
	if err != nil {
		return nil, fmt.Errorf("connect to event server: %w", err)
	}
	return conn, nil
}

// serverLog passes the server's warnings and errors on. Its notices tell how it
// started and stopped, which nobody asked for.
type serverLog struct{ log *slog.Logger }

func (l serverLog) write(level slog.Level, format string, args []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, "event server", "says", fmt.Sprintf(format, args...))
	}
}

func (l serverLog) Noticef(format string, args ...any) { l.write(slog.LevelDebug, format, args) }
func (l serverLog) Warnf(format string, args ...any)   { l.write(slog.LevelWarn, format, args) }
func (l serverLog) Fatalf(format string, args ...any)  { l.write(slog.LevelError, format, args) }
func (l serverLog) Errorf(format string, args ...any)  { l.write(slog.LevelError, format, args) }
func (l serverLog) Debugf(string, ...any)              {}
func (l serverLog) Tracef(string, ...any)              {}
