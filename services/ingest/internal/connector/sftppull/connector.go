// Package sftppull fetches OneRoster CSV packages from the SFTP server of a
// district. It reads there and nothing else.
//
// The server is known by its host key: no credentials are sent to one whose key
// nobody has confirmed, or whose key has changed. Files are taken when they are
// complete: not while they change, and only if nothing has changed once they are
// copied. What a broken connection leaves is gone on with, as long as the file
// is the same.
package sftppull

import (
	"cmp"
	"context"
	_ "embed" // the description
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/securly/sync/services/ingest/internal/connector"
	"github.com/securly/sync/services/ingest/internal/connector/fileset"
	"github.com/securly/sync/services/platform/errs"
)

//go:embed connector.json
var description []byte

var described = connector.Describe(description, "host", "port", "user")

// Connector is the connector.
type Connector struct {
	// Wait pauses between two tries; it fails when ctx ends. Absent, time passes.
	Wait func(ctx context.Context, pause time.Duration) error
}

// Describe returns its description.
func (Connector) Describe() *connector.Description { return described }

type settings struct {
	Host         string `json:"host"`
	Port         int    `json:"port"`
	User         string `json:"user"`
	Folder       string `json:"folder"`
	Subfolders   bool   `json:"subfolders"`
	Files        string `json:"files"`
	Sentinel     string `json:"sentinel"`
	QuietMinutes int    `json:"quietMinutes"`
	HostKey      string `json:"hostKey"`
}

func (s settings) quiet() time.Duration { return time.Duration(s.QuietMinutes) * time.Minute }

const (
	// maxPull bounds the time of one try.
	maxPull = 4 * time.Hour
	// maxWait is for how long files may go on changing.
	maxWait = 2 * time.Hour
	// maxTries is how often a line may break before one more file is whole. The
	// pause after the first break doubles with each.
	maxTries   = 8
	firstPause = time.Second
	// old files are complete: no clock is wrong by so much, and no sender pauses
	// for so long in the middle.
	old = time.Hour
)

func refused(reason, format string, args ...any) *errs.Error {
	return errs.Errorf(codes.FailedPrecondition, reason, format, args...)
}

// pull is one call of Pull.
type pull struct {
	connector.Request
	settings
	at checkpoint
	// received counts the bytes that came in, and whole the files that were.
	received int64
	whole    int
	// skipped counts the packages between the one before and the one that was found.
	skipped int
}

// Pull fetches the newest complete package.
func (c Connector) Pull(ctx context.Context, req connector.Request) (*connector.Package, error) {
	p := &pull{Request: req, settings: settings{Port: 22, Folder: ".", Files: "auto", QuietMinutes: 5}}
	if err := req.Settings.Decode(&p.settings); err != nil {
		return nil, err
	}
	p.Folder = cmp.Or(p.Folder, ".")
	if err := p.at.load(req.Dir); err != nil {
		return nil, err
	}
	tooSlow := refused("SFTP_TOO_SLOW", "the files could not be fetched from %s within %v: make the package smaller or the line faster", p.Host, maxPull)
	ctx, cancel := context.WithTimeoutCause(ctx, maxPull, tooSlow)
	defer cancel()
	for tries, whole := 0, 0; ; {
		before := p.received
		out, err := p.try(ctx)
		if err == nil {
			return out, nil
		}
		if tries++; p.whole > whole {
			tries, whole = 1, p.whole
		}
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case !errors.Is(err, connector.ErrUnreachable), p.received == before, tries == maxTries:
			return nil, err
		}
		// It got further, and goes on from there.
		if c.wait(ctx, firstPause<<(tries-1)) != nil {
			return nil, context.Cause(ctx)
		}
	}
}

func (c Connector) wait(ctx context.Context, pause time.Duration) error {
	if c.Wait != nil {
		return c.Wait(ctx, pause)
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// try does all that can be done over one connection.
func (p *pull) try(ctx context.Context) (_ *connector.Package, err error) {
	s, err := dial(ctx, p.settings, p.Secrets)
	if err != nil {
		return nil, err
	}
	defer s.close()
	found, err := p.find(ctx, s)
	if err != nil {
		return nil, err
	}
	out := &connector.Package{Mark: found.Mark(), Skipped: p.skipped}
	if out.Mark == p.Last && !p.Trial && p.skipped == 0 {
		out.Unchanged = true
		return out, nil
	}
	if err := p.ready(found); err != nil {
		var wait *connector.NotReady
		if !p.Trial || !errors.As(err, &wait) {
			return nil, err
		}
		out.Notes = append(out.Notes, wait.Reason+"; a sync waits for that")
	}
	if err := p.fetch(ctx, s, found); err != nil {
		return nil, err
	}
	again, err := p.find(ctx, s)
	if err != nil {
		return nil, err
	}
	if again.Observed() != found.Observed() {
		if !p.Trial {
			return nil, p.changed(again)
		}
		out.Notes = append(out.Notes, fmt.Sprintf("files in %s changed while they were fetched; a sync waits until they stay the same", again.Folder))
	}
	for i, f := range found.Files {
		out.Files = append(out.Files, connector.File{Name: f.Name, Path: p.local(i)})
	}
	return out, nil
}

// ready tells whether the files that were found are complete.
func (p *pull) ready(found *fileset.Set) error {
	now := p.Now()
	if p.at.Observed != found.Observed() {
		if err := p.at.begin(p.Dir, found.Observed(), now); err != nil {
			return err
		}
	}
	if p.Sentinel != "" {
		if found.Sentinel {
			return nil
		}
		return p.wait(now.Add(time.Minute), fmt.Sprintf("the file %s, which says that all is there, is missing or older than the other files", p.Sentinel))
	}
	if until := p.at.Since.Add(p.quiet()); found.Since(time.Second).After(now.Add(-old)) && until.After(now) {
		return p.wait(until, fmt.Sprintf("files in %s were written lately, and count as complete when they have not changed for %d minutes", found.Folder, p.QuietMinutes))
	}
	return nil
}

// changed begins to wait anew.
func (p *pull) changed(found *fileset.Set) error {
	now := p.Now()
	if err := p.at.begin(p.Dir, found.Observed(), now); err != nil {
		return err
	}
	return p.wait(now.Add(p.quiet()), fmt.Sprintf("files in %s changed while they were fetched", found.Folder))
}

func (p *pull) wait(until time.Time, reason string) error {
	if since := p.Now().Sub(p.at.First); since > maxWait && !p.Trial {
		return refused("SFTP_NOT_COMPLETE", "no complete package came within %v: %s. See to the export, then sync again", maxWait, reason)
	}
	return &connector.NotReady{Until: until, Reason: reason}
}
