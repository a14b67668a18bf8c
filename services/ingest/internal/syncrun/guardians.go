package syncrun

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/connector/onerostercsv"
	"github.com/securly/sync/services/ingest/internal/finding"
	"github.com/securly/sync/services/ingest/internal/guardian"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/ingest/internal/merge"
	"github.com/securly/sync/services/ingest/internal/plan"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/record"
)

var usersName = record.EntityName(typev1.Entity_ENTITY_USERS)

// matchMemory bounds what is sorted of a guardian file's outcome in memory.
const matchMemory = 16 << 20

// Base are the users that a guardian file is matched with.
type Base struct {
	// Users are those of all sources but guardian files, as they are merged.
	Users iter.Seq2[layer.Entry, error]
	// Mark recognises them together with the settings that they are matched by.
	Mark string
	// files are the keys of the files that Users are read from.
	files []string
	// Last is the layer of the source.
	Last *ingestv1.LayerDocument
}

// GuardianBase returns what a source's guardian file is matched with now.
func (r *Runner) GuardianBase(ctx context.Context, district, source string, g *ingestv1.GuardianFile) (*Base, error) {
	current, err := r.layers(ctx, district)
	if err != nil {
		return nil, err
	}
	m := &merging{r: r}
	out := &Base{Last: &ingestv1.LayerDocument{}}
	h := sha256.New()
	var streams []merge.Stream
	for _, l := range current {
		if l.GetSource() == source {
			out.Last = l
		}
		// Guardian files are not matched with each other, so that none has to be
		// matched again for the other without end.
		if l.GetSource() == source || l.GetGuardians() != nil {
			continue
		}
		for _, rank := range ranks {
			f := of(state.Current(l), rank, usersName)
			if f == nil {
				continue
			}
			out.files = append(out.files, f.GetKey())
			streams = append(streams, merge.Stream{Source: l.GetSource(), Rank: rank, Entries: m.read(ctx, l, f, typev1.Entity_ENTITY_USERS)})
			content := fmt.Sprintf("%x", f.GetChecksum())
			if f.GetChecksum() == 0 {
				content = f.GetKey()
			}
			_, _ = fmt.Fprintf(h, "%q %d %s\n", l.GetSource(), rank, content) // a hash takes everything
		}
	}
	out.Users = merge.Layers(streams...)
	rules, err := guardianRules(g)
	_, _ = fmt.Fprint(h, rules)
	out.Mark = hex.EncodeToString(h.Sum(nil))
	return out, err
}

// guardianRules recognises the settings that decide what is made of a row.
func guardianRules(g *ingestv1.GuardianFile) (string, error) {
	g = proto.CloneOf(g)
	g.MinMatchPercent, g.MaxDropPercent = nil, nil
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(g)
	sum := sha256.Sum256(text)
	return fmt.Sprintf("guardians %d %x", guardian.Version, sum[:8]), err
}

// matchGuardians takes a sync of a guardian file from NORMALISING to PLANNING.
func (r *Runner) matchGuardians(ctx context.Context, s *ingestv1.SyncDocument, g *ingestv1.GuardianFile, contents *onerostercsv.Contents, dir string) (err error) {
	district, sync := s.GetDistrict(), s.GetSync()
	file, faults := guardian.Find(contents)
	if len(faults) > 0 {
		return r.faulty(ctx, s, nil, onerostercsv.Faults(faults))
	}
	base, err := r.GuardianBase(ctx, district, sync.GetSource(), g)
	if err != nil {
		return err
	}
	found := finding.NewReport(file.Name)
	columns, faults := guardian.Open(file, g, found)
	if len(faults) > 0 {
		return r.faulty(ctx, s, nil, onerostercsv.Faults(faults))
	}
	var rows atomic.Int64
	work, stop := r.follow(ctx, s, func(sync *ingestv1.Sync) { sync.RowsRead = int32(rows.Load()) })
	defer stop()
	sorter := layer.NewSorter(dir, matchMemory)
	defer func() { err = errors.Join(err, sorter.Close()) }()
	out := sorter.Buffer()
	report, err := guardian.Match(work, guardian.Input{
		File: file, Columns: columns, Settings: g, District: district, Source: sync.GetSource(), Report: found, Users: base.Users, TempDir: dir,
		Rows: func(n int) { rows.Add(int64(n)) },
	}, func(e layer.Entry) error {
		return out.Add(layer.Item{ID: e.ID, Hash: e.Hash, Overlay: e.Overlay, Body: e.Body})
	})
	out.Close()
	if err != nil {
		if work.Err() != nil && ctx.Err() == nil {
			return errMoved
		}
		return r.unmatched(ctx, s, g, file, base, err)
	}
	stop()
	guardian.Compare(report, base.Last.GetGuardians())
	files, err := r.writeGuardians(ctx, s, g, base.Last, sorter)
	if err != nil {
		return err
	}
	if err := r.keepErased(ctx, s, files); err != nil {
		return err
	}
	kept, total := found.Result()
	if err := finding.Save(ctx, r.deps.Blobs, FindingsKey(district, sync.GetSyncId()), kept); err != nil {
		return err
	}
	return r.enter(ctx, s, ingestv1.SyncState_PLANNING, func(d *ingestv1.SyncDocument) {
		d.Base, d.GuardiansBase, d.Over, d.Fill = baseOf(base.Last), base.Mark, nil, nil
		if g.GetPolicy() == ingestv1.GuardianPolicy_FILE_WINS {
			d.Over = files
		} else {
			d.Fill = files
		}
		d.FindingsKey, d.FindingsKept, d.Sync.FindingsCount = FindingsKey(district, sync.GetSyncId()), int32(len(kept)), int32(total)
		d.Sync.Guardians, d.Sync.RowsRead = report, report.GetRows()
		d.Sync.Counts = map[string]*ingestv1.EntityCounts{
			usersName: {Received: report.GetRows(), Rejected: report.GetUnmatchedRows() + report.GetRejectedRows()},
		}
	}, ingestv1.SyncState_NORMALISING)
}

// unmatched says what an error of a match means.
func (r *Runner) unmatched(ctx context.Context, s *ingestv1.SyncDocument, g *ingestv1.GuardianFile, file guardian.File, base *Base, cause error) error {
	if faults := guardian.Unreadable(file, cause); len(faults) > 0 {
		return r.faulty(ctx, s, nil, onerostercsv.Faults(faults))
	}
	if errors.Is(cause, layer.ErrDamaged) {
		// The files of other sources go when these commit anew, also the same.
		now, err := r.GuardianBase(ctx, s.GetDistrict(), s.GetSync().GetSource(), g)
		if err != nil || !slices.Equal(now.files, base.files) {
			return errors.Join(errLater, err)
		}
	}
	return cause
}

// writeGuardians writes what a guardian file comes to, by entity name: what is
// there already if it is the same.
func (r *Runner) writeGuardians(ctx context.Context, s *ingestv1.SyncDocument, g *ingestv1.GuardianFile, last *ingestv1.LayerDocument, rows *layer.Sorter) (map[string]*ingestv1.LayerFile, error) {
	previous := last.GetFill()[usersName]
	if g.GetPolicy() == ingestv1.GuardianPolicy_FILE_WINS {
		previous = last.GetOver()[usersName]
	}
	rules, err := guardianRules(g)
	if err != nil {
		return nil, err
	}
	f, err := r.writeUsers(ctx, s, rules, previous, rows)
	if errors.Is(err, layer.ErrDamaged) { // it is of no need
		f, err = r.writeUsers(ctx, s, rules, nil, rows)
	}
	return map[string]*ingestv1.LayerFile{usersName: f}, err
}

func (r *Runner) writeUsers(ctx context.Context, s *ingestv1.SyncDocument, rules string, previous *ingestv1.LayerFile, rows *layer.Sorter) (*ingestv1.LayerFile, error) {
	build := layer.Build{Rows: rows, Mode: layer.Bulk, Rejected: func(layer.Item) {}} // no id comes twice
	if previous != nil {
		build.Previous = layer.Open(ctx, r.deps.Blobs, previous.GetKey(), previous.GetRecords())
	}
	key := LayerPrefix(s.GetDistrict(), s.GetSync().GetSource()) + s.GetSync().GetSyncId() + "/guardians"
	f, err := writeLayer(ctx, r.deps.Blobs, key, rules, previous, build.Write)
	if err != nil {
		return nil, fmt.Errorf("write what a guardian file says: %w", err)
	}
	return f, nil
}

// withGuardians adds to the reasons for which a plan waits those that what a
// guardian file changes has, whatever it changes. What changes nothing only waits
// if it is the first. That the first one has something for most students, and
// fills it in, is no reason.
func (r *Runner) withGuardians(ctx context.Context, s *ingestv1.SyncDocument, p *rosterv1.Plan, reasons []*ingestv1.HoldReason) ([]*ingestv1.HoldReason, error) {
	report, first := s.GetSync().GetGuardians(), s.GetBase() == ""
	if report == nil || !first && plan.Changes(p) == 0 {
		return reasons, nil
	}
	source, err := r.deps.Store.Source(ctx, s.GetDistrict(), s.GetSync().GetSource())
	if err != nil {
		return nil, err
	}
	if first && s.GetFill() != nil {
		reasons = slices.DeleteFunc(reasons, func(h *ingestv1.HoldReason) bool { return h.GetType() == plan.ManyUpdates })
	}
	return append(guardian.Holds(report, source.Value.GetSource().GetGuardians()), reasons...), nil
}
