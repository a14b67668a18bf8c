package pebblestore

import (
	"fmt"
	"log/slog"
)

// pebbleLog passes on what Pebble has to say. Its messages are about files and
// levels, not about records.
type pebbleLog struct{ log *slog.Logger }

func (l pebbleLog) Infof(string, ...any) {}

func (l pebbleLog) Errorf(format string, args ...any) {
	l.log.Error("pebble", "message", fmt.Sprintf(format, args...))
}

// Fatalf is called when going on would lose data; Pebble expects it not to
// return.
func (l pebbleLog) Fatalf(format string, args ...any) {
	panic("pebble: " + fmt.Sprintf(format, args...))
}
