package sftppull

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// checkpoint is what one try of a pull leaves to the next, beside the files.
type checkpoint struct {
	// First is when the first try saw anything.
	First time.Time
	// Observed stands for the files as they were seen, and Since for how long they
	// have been so. The files in the folder are parts of these.
	Observed string
	Since    time.Time
}

const checkpointFile = "checkpoint.json"

func (c *checkpoint) load(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, checkpointFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read where the pull was: %w", err)
	}
	if err := json.Unmarshal(text, c); err != nil {
		return fmt.Errorf("read where the pull was: %w", err)
	}
	return nil
}

// begin drops what was fetched of other files.
func (c *checkpoint) begin(dir, observed string, now time.Time) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("begin the pull anew: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("begin the pull anew: %w", err)
	}
	if c.First.IsZero() {
		c.First = now
	}
	c.Observed, c.Since = observed, now
	text, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("note where the pull is: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, checkpointFile), text, 0o600); err != nil {
		return fmt.Errorf("note where the pull is: %w", err)
	}
	return nil
}

// local is where file number i is kept: never under a name that the other side
// has chosen.
func (p *pull) local(i int) string { return filepath.Join(p.Dir, "file-"+strconv.Itoa(i)) }
