package storetest

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/testing/protocmp"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// The work of a process that is killed: districts one after the other, each
// taken through a few revisions, published, pruned and erased. What a revision
// holds follows from its number alone, so that whoever looks later knows it.
const (
	lastRevision = 6
	keptBehind   = 2
)

// step is one thing that the worker does, as it tells its parent.
type step struct {
	what     string // open, import, discard, commit, publish, prune or erase
	district store.DistrictID
	rev      store.Revision
}

// Work works on the store for ever and writes what it begins and what it was
// told to be done, a line each.
func Work(ctx context.Context, s store.Store, size int, out io.Writer) error {
	do := func(st step, f func() error) error {
		line := fmt.Sprintf(" %s %s %d\n", st.what, st.district, st.rev)
		if _, err := io.WriteString(out, "begin"+line); err != nil {
			return err
		}
		if err := f(); err != nil {
			return fmt.Errorf("%s %s, revision %d: %w", st.what, st.district, st.rev, err)
		}
		_, err := io.WriteString(out, "done"+line)
		return err
	}
	n := 0
	for d, err := range s.Districts(ctx) {
		if err != nil {
			return err
		}
		if _, err := fmt.Sscanf(string(d), "crash-%d", &n); err != nil {
			return err
		}
	}
	for ; ; n++ {
		d := store.DistrictID(fmt.Sprintf("crash-%06d", n))
		if err := do(step{"open", d, 0}, func() error { return s.OpenDistrict(ctx, d) }); err != nil {
			return err
		}
		head, err := s.Head(ctx, d)
		if err != nil {
			return err
		}
		for rev := head.Revision + 1; rev <= lastRevision; rev++ {
			if err := revise(ctx, s, d, rev, size, do); err != nil {
				return err
			}
		}
		if err := do(step{"erase", d, 0}, func() error { return s.EraseDistrict(ctx, d) }); err != nil {
			return err
		}
	}
}

// revise makes one revision and what may follow it.
func revise(ctx context.Context, s store.Store, d store.DistrictID, rev store.Revision, size int, do func(step, func() error) error) error {
	plan := planOf(rev)
	stage := func() error {
		h := store.PlanHeader{District: d, Plan: plan, Complete: record.Entities()}
		_, err := s.Import(ctx, h, candidate(crashCandidate(rev, size)...))
		return err
	}
	steps := []func() error{func() error { return do(step{"import", d, rev}, stage) }}
	if rand.N(4) == 0 {
		steps = append(steps, func() error {
			return do(step{"discard", d, rev}, func() error {
				err := s.Discard(ctx, d, plan)
				if errors.Is(err, store.ErrCommitted) {
					return nil // by a worker that was killed before the revision could be seen
				}
				return err
			})
		}, steps[0])
	}
	steps = append(steps, func() error {
		return do(step{"commit", d, rev}, func() error {
			out, err := s.Commit(ctx, d, plan, 0)
			if err == nil && out.Revision != rev {
				err = fmt.Errorf("the commit made revision %d", out.Revision)
			}
			return err
		})
	})
	if rev%2 == 0 {
		steps = append(steps, func() error { return publish(ctx, s, d, do) }, func() error {
			return do(step{"prune", d, rev - keptBehind}, func() error { return s.Prune(ctx, d, rev-keptBehind) })
		})
	}
	for _, f := range steps {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

func publish(ctx context.Context, s store.Store, d store.DistrictID, do func(step, func() error) error) error {
	var revs []store.Revision
	for p, err := range s.Pending(ctx) {
		if err != nil {
			return err
		}
		if p.District == d {
			revs = append(revs, p.Revision.Revision)
		}
	}
	for _, rev := range revs {
		if err := do(step{"publish", d, rev}, func() error { return s.MarkPublished(ctx, d, rev) }); err != nil {
			return err
		}
	}
	return nil
}

func planOf(rev store.Revision) store.PlanID { return store.PlanID(fmt.Sprint("plan-", rev)) }

// crashCandidate is what a source delivers for a revision. Each record changes,
// goes or comes back in every seventh revision or so; users move between
// schools, by themselves and by their enrollments.
func crashCandidate(rev store.Revision, size int) []*typev1.Record {
	out := []*typev1.Record{org("s0", "North"), org("s1", "South"), org("s2", "East"), class("k", "s0", "", "Algebra")}
	for i := range size {
		// The revision that record i is of.
		of := max(1, int(rev)-(int(rev)+i)%7)
		id := fmt.Sprintf("%05d", i)
		if (3*of+i)%5 != 0 || of == 1 {
			out = append(out, user("u"+id, "student", fmt.Sprint("Version", of), "Made-Up", id+"@example.org", fmt.Sprint("s", of%3)))
		}
		if (2*of+i)%3 != 0 {
			out = append(out, enrollment("e"+id, "u"+id, "k", fmt.Sprint("s", (of+1)%3), "student"))
		}
	}
	return out
}

// crashState is what a district holds at a revision.
func crashState(rev store.Revision, size int) map[store.Position]*typev1.Record {
	state := map[store.Position]*typev1.Record{}
	for r := store.Revision(1); r <= rev; r++ {
		delivered := map[store.Position]*typev1.Record{}
		for _, rec := range crashCandidate(r, size) {
			delivered[positionOf(rec)] = rec
		}
		for at, rec := range state {
			if delivered[at] == nil {
				delivered[at] = removed(rec)
			}
		}
		state = delivered
	}
	return state
}

// Crash kills workers again and again, each at a random moment of a random
// step, and looks every time at what is left: all that was acknowledged, all of
// a revision or nothing of it, and no broken invariant. The command runs Work on
// the store that open opens.
func Crash(t *testing.T, kills, size int, command func() *exec.Cmd, open func() store.Store) {
	w := &witness{size: size, districts: map[store.DistrictID]*seen{}, took: map[string]time.Duration{}, hits: map[string]int{}}
	for range kills {
		w.kill(t, command())
		s := open()
		w.examine(t, s)
		require.NoError(t, s.Close())
		if t.Failed() {
			break
		}
	}
	t.Log("kills within " + w.summary())
}

// witness knows what workers were told.
type witness struct {
	size      int
	districts map[store.DistrictID]*seen
	current   *step                    // begun and not done
	took      map[string]time.Duration // how long each kind of step took last
	hits      map[string]int           // kills by the step they fell into
}

// seen is what a worker was told of a district.
type seen struct {
	opened            bool
	head              store.Revision
	floor             store.Revision
	staged, published map[store.Revision]bool
}

// kill lets a worker run until a random moment after the beginning of a random
// step, then kills it.
func (w *witness) kill(t *testing.T, cmd *exec.Cmd) {
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	victim := rand.N(60)
	began := map[string]time.Time{}
	for n := 0; ; {
		if !lines.Scan() {
			err := cmd.Wait() // then all of the complaint is there
			require.Failf(t, "the worker ended by itself", "%v: %s", err, &complaint)
		}
		phase, st := parseStep(t, lines.Text())
		w.note(phase, st)
		if phase == "done" {
			w.took[st.what] = time.Since(began[st.what])
			continue
		}
		began[st.what] = time.Now()
		if n++; n > victim {
			// A little longer than the step takes, to fall between steps too.
			<-time.After(rand.N(w.took[st.what]*5/4 + time.Millisecond))
			break
		}
	}
	require.NoError(t, cmd.Process.Kill())
	for lines.Scan() { // what it had said before
		w.note(parseStep(t, lines.Text()))
	}
	require.Error(t, cmd.Wait())
	where := "none"
	if w.current != nil {
		where = w.current.what
	}
	w.hits[where]++
}

func parseStep(t *testing.T, line string) (phase string, st step) {
	f := strings.Fields(line)
	require.Len(t, f, 4, line)
	rev, err := strconv.Atoi(f[3])
	require.NoError(t, err)
	return f[0], step{f[1], store.DistrictID(f[2]), store.Revision(rev)}
}

func (w *witness) note(phase string, st step) {
	d := w.districts[st.district]
	if d == nil {
		d = &seen{staged: map[store.Revision]bool{}, published: map[store.Revision]bool{}}
		w.districts[st.district] = d
	}
	if phase == "begin" {
		w.current = &st
		if st.what == "discard" {
			delete(d.staged, st.rev)
		}
		return
	}
	w.current = nil
	switch st.what {
	case "open":
		d.opened = true
	case "import":
		d.staged[st.rev] = true
	case "commit":
		d.head = st.rev
	case "publish":
		d.published[st.rev] = true
	case "prune":
		d.floor = st.rev
	case "erase":
		delete(w.districts, st.district)
	}
}

// during tells whether the kill fell into such a step of the district.
func (w *witness) during(d store.DistrictID, what string) bool {
	return w.current != nil && w.current.district == d && w.current.what == what
}

func (w *witness) examine(t *testing.T, s store.Store) {
	there := map[store.DistrictID]bool{}
	for d, err := range s.Districts(t.Context()) {
		require.NoError(t, err)
		require.Contains(t, w.districts, d, "an erased district is back")
		there[d] = true
	}
	for d, told := range w.districts {
		if !there[d] {
			require.True(t, !told.opened || w.during(d, "erase"), "%s is gone", d)
			delete(w.districts, d)
			continue
		}
		w.examineDistrict(t, s, d, told)
	}
}

func (w *witness) examineDistrict(t *testing.T, s store.Store, d store.DistrictID, told *seen) {
	info, err := s.Head(t.Context(), d)
	require.NoError(t, err)
	if w.during(d, "commit") && info.Revision == w.current.rev {
		told.head = info.Revision // it was committed, and nobody was told
	}
	require.Equal(t, told.head, info.Revision, "the head of %s", d)
	for rev := store.Revision(1); rev <= told.head; rev++ {
		err := endOf(s.Snapshot(d, rev, whole).Scan(t.Context(), store.Position{}))
		if errors.Is(err, store.ErrRevisionGone) {
			if w.during(d, "prune") && rev < w.current.rev {
				told.floor = w.current.rev
			}
			require.Less(t, rev, told.floor, "revision %d of %s is gone", rev, d)
			continue
		}
		require.NoError(t, err)
		w.examineRevision(t, s, d, rev)
	}
	for rev := range told.staged {
		if rev < told.floor {
			continue
		}
		p, err := s.Plan(t.Context(), d, planOf(rev))
		require.NoError(t, err, "an acknowledged plan of %s", d)
		page, err := s.PlanChanges(t.Context(), d, p.ID, store.ChangeQuery{Limit: 1})
		require.NoError(t, err)
		require.Equal(t, p.Changes(), page.Total)
	}
	pending := map[store.Revision]bool{}
	for p, err := range s.Pending(t.Context()) {
		require.NoError(t, err)
		if p.District == d {
			pending[p.Revision.Revision] = true
		}
	}
	if w.during(d, "publish") && !pending[w.current.rev] {
		told.published[w.current.rev] = true // and nobody was told
	}
	for rev := store.Revision(1); rev <= told.head; rev++ {
		require.Equal(t, !told.published[rev], pending[rev], "whether revision %d of %s is still to be announced", rev, d)
	}
	for p, err := range s.Check(t.Context(), d, false) {
		require.NoError(t, err)
		t.Errorf("after a kill within %+v: %s: %s", w.current, p.Invariant, p.Where)
	}
}

// examineRevision compares a revision with what it has to hold, by a scan, by
// its changes and by the index.
func (w *witness) examineRevision(t *testing.T, s store.Store, d store.DistrictID, rev store.Revision) {
	want := crashState(rev, w.size)
	at := s.Snapshot(d, rev, whole)
	require.Empty(t, gocmp.Diff(want, scanAll(t, at, store.Position{}), protocmp.Transform()), "revision %d of %s", rev, d)

	changed := map[store.Position]*typev1.Record{}
	var phases []store.Phase
	for ev, err := range s.Changes(t.Context(), d, rev-1, rev) {
		require.NoError(t, err)
		if ev.Phase != store.Data {
			phases = append(phases, ev.Phase)
			continue
		}
		r := undated(t, ev.Record.Body)
		changed[positionOf(r)] = r
	}
	require.Equal(t, []store.Phase{store.Begin, store.End}, phases)
	before := crashState(rev-1, w.size)
	maps.DeleteFunc(want, func(at store.Position, r *typev1.Record) bool {
		return before[at] != nil && record.HashOf(before[at]) == record.HashOf(r)
	})
	require.Empty(t, gocmp.Diff(want, changed, protocmp.Transform()), "changes of revision %d of %s", rev, d)

	named := store.Query{Entity: users, Text: fmt.Sprint("Version", rev), Status: "active"}
	var ids []string
	for at, r := range crashState(rev, w.size) {
		if u := r.GetUser(); u.GetStatus() == "active" && u.GetGivenName() == named.Text {
			ids = append(ids, at.ID)
		}
	}
	slices.Sort(ids)
	require.Equal(t, ids, idsOf(t, at, named, 1000))
}

func (w *witness) summary() string {
	var parts []string
	for what, n := range w.hits {
		parts = append(parts, fmt.Sprintf("%s %d", what, n))
	}
	slices.SortFunc(parts, cmp.Compare)
	return strings.Join(parts, ", ")
}
