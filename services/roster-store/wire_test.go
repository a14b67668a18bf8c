package rosterstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/storetest"
)

// The suite of the engines holds behind the interface that others use, with the
// program as it is shipped.
func TestProgramKeepsTheContract(t *testing.T) {
	c := startCluster(t)
	const (
		list   = "there is no call that lists districts: ingest keeps the list"
		bodies = "changes of a plan are shown as differences of fields, without bodies and schools"
	)
	plans := map[string]map[store.Revision]store.PlanID{}
	storetest.RunExcept(t, func(t testing.TB, dir string) store.Store {
		p := c.spawn(t, dir)
		if plans[dir] == nil {
			plans[dir] = map[store.Revision]store.PlanID{}
		}
		return &wire{
			roster: rosterv1.NewRosterServiceClient(p.conn), upkeep: rosterv1.NewUpkeepServiceClient(p.conn), t: t, stop: func() error { return p.stop(syscall.SIGTERM) },
			tokens: map[string]string{}, pages: map[string]string{}, plans: plans[dir],
		}
	}, map[string]string{
		"DistrictsAreOpenedListedAndErased":     list,
		"UnknownAndMisnamedDistrictsAreRefused": list + "; the permission check names a misnamed one first",
		"PlanChangesShowBeforeAndAfter":         bodies,
		"SchoolsOfChangesAddUp":                 bodies,
		"ErasedPersonIsForgotten":               bodies,
		"PersonIsErasedFromTheFirstPlan":        bodies,
		"PersonIsErasedWhileOthersWork":         bodies,
		"DifferencesMakeTheSamePlan":            bodies,
		"UndoIsKeptAndCarriedOn":                "a restore is staged by the store itself, from a revision",
		"FinishedPlanIsImmutable":               "a client reads the first records before it can know the plan as finished",
		"PendingUntilPublished":                 "the program announces by itself, see TestKilledBeforePublish",
		"ClosedStoreSaysSo":                     "a program that has ended says nothing",
	})
}

// wire is the store as a client of the service sees it.
type wire struct {
	roster rosterv1.RosterServiceClient
	upkeep rosterv1.UpkeepServiceClient
	stop   func() error
	t      testing.TB

	mu     sync.Mutex
	tokens map[string]string               // by scope
	pages  map[string]string               // page tokens by query and the id they go on after
	plans  map[store.Revision]store.PlanID // who commits knows which plan it was
}

// as makes calls with what the scope allows.
func (w *wire) as(ctx context.Context, scope store.Scope) context.Context {
	p := testkit.Service()
	if !scope.All {
		p.Schools = append([]string{"no school"}, scope.Schools...) // none would mean all
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	key := fmt.Sprintf("%q", p.Schools)
	if w.tokens[key] == "" {
		w.tokens[key] = testkit.Token(w.t, p)
	}
	return authn.WithToken(ctx, w.tokens[key])
}

func (w *wire) all(ctx context.Context) context.Context { return w.as(ctx, store.Scope{All: true}) }

// why prefers what has ended the caller's context.
func why(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (w *wire) Close() error { return w.stop() }

func (w *wire) OpenDistrict(ctx context.Context, d store.DistrictID) error {
	_, err := w.roster.OpenDistrict(w.all(ctx), &rosterv1.OpenDistrictRequest{District: string(d)})
	return why(ctx, err)
}

func (w *wire) EraseDistrict(ctx context.Context, d store.DistrictID) error {
	_, err := w.roster.EraseDistrict(w.all(ctx), &rosterv1.EraseDistrictRequest{District: string(d)})
	return why(ctx, err)
}

var errNotAsked = errors.New("the service cannot be asked this")

func (w *wire) Districts(context.Context) iter.Seq2[store.DistrictID, error] {
	return func(yield func(store.DistrictID, error) bool) { yield("", errNotAsked) }
}

func (w *wire) Pending(context.Context) iter.Seq2[store.PendingRevision, error] {
	return func(yield func(store.PendingRevision, error) bool) { yield(store.PendingRevision{}, errNotAsked) }
}

func (w *wire) MarkPublished(ctx context.Context, _ store.DistrictID, _ store.Revision) error {
	return why(ctx, errNotAsked)
}

func (w *wire) ErasePerson(ctx context.Context, d store.DistrictID, userID string) error {
	_, err := w.upkeep.ErasePersonRecords(w.all(ctx), &rosterv1.ErasePersonRecordsRequest{District: string(d), SourcedId: userID})
	return why(ctx, err)
}

// Check is told about all districts.
func (w *wire) Check(ctx context.Context, d store.DistrictID, repair bool) iter.Seq2[store.Problem, error] {
	return func(yield func(store.Problem, error) bool) {
		stream, err := w.upkeep.Check(w.all(ctx), &typev1.CheckRequest{Repair: repair})
		for err == nil {
			var got *typev1.CheckResponse
			if got, err = stream.Recv(); err != nil {
				break
			}
			p := got.GetProblem()
			if p.GetDistrict() == string(d) && !yield(store.Problem{Invariant: p.GetWhat(), Where: p.GetWhere(), Repaired: p.GetRepaired()}, nil) {
				return
			}
		}
		if !errors.Is(err, io.EOF) {
			yield(store.Problem{}, why(ctx, err))
		}
	}
}

// Prune asks for the time of the revision to keep.
func (w *wire) Prune(ctx context.Context, d store.DistrictID, keep store.Revision) error {
	infos, err := w.Revisions(ctx, d, 0, 1000)
	if err != nil || len(infos) == 0 {
		return err
	}
	i := slices.IndexFunc(infos, func(r store.RevisionInfo) bool { return r.Revision <= keep })
	before := infos[len(infos)-1].CommitTime.Add(-time.Second)
	if i >= 0 {
		before = infos[i].CommitTime
	}
	_, err = w.roster.PruneHistory(w.all(ctx), &rosterv1.PruneHistoryRequest{District: string(d), Before: timestamppb.New(before)})
	return why(ctx, err)
}

func (w *wire) Head(ctx context.Context, d store.DistrictID) (store.RevisionInfo, error) {
	infos, err := w.Revisions(ctx, d, 0, 1)
	if err != nil || len(infos) == 0 {
		return store.RevisionInfo{}, err
	}
	return infos[0], nil
}

func (w *wire) Revisions(ctx context.Context, d store.DistrictID, before store.Revision, limit int) ([]store.RevisionInfo, error) {
	var out []store.RevisionInfo
	req := &rosterv1.ListRevisionsRequest{District: string(d), PageSize: int32(limit)}
	for {
		page, err := w.roster.ListRevisions(w.all(ctx), req)
		if err != nil {
			return nil, why(ctx, err)
		}
		for _, r := range page.GetRevisions() {
			info := store.RevisionInfo{
				Revision: store.Revision(r.GetRevision()), CommitTime: r.GetCommitTime().AsTime(),
				Sync: store.SyncID(r.GetSync()), Counts: countsOf(r.GetCounts()),
			}
			w.mu.Lock()
			info.Plan = w.plans[info.Revision]
			w.mu.Unlock()
			if len(out) < limit && (before == 0 || info.Revision < before) {
				out = append(out, info)
			}
		}
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" || len(out) == limit {
			return out, nil
		}
	}
}

func countsOf(in map[string]*rosterv1.ChangeCounts) map[store.Entity]store.Counts {
	out := map[store.Entity]store.Counts{}
	for name, c := range in {
		e, _ := record.ParseEntity(name)
		out[e] = store.Counts{
			Received: int(c.GetReceived()), Created: int(c.GetCreated()), Updated: int(c.GetUpdated()),
			Removed: int(c.GetRemoved()), Unchanged: int(c.GetUnchanged()),
		}
	}
	return out
}

func (w *wire) RevisionAt(ctx context.Context, d store.DistrictID, t time.Time) (store.Revision, error) {
	page, err := w.roster.ListRecords(w.all(ctx), &rosterv1.ListRecordsRequest{
		District: string(d), Entity: "orgs", PageSize: 1, AsOf: t.Format(time.RFC3339Nano),
	})
	return store.Revision(page.GetRevision()), why(ctx, err)
}

func (w *wire) Summary(ctx context.Context, d store.DistrictID, scope store.Scope) (store.Summary, error) {
	m, err := w.roster.GetSummary(w.as(ctx, scope), &rosterv1.GetSummaryRequest{District: string(d)})
	if err != nil {
		return store.Summary{}, why(ctx, err)
	}
	out := store.Summary{Active: map[store.Entity]int{}, Total: map[store.Entity]int{}, Families: map[record.Family]int{}}
	for _, e := range record.Entities() {
		out.Active[e], out.Total[e] = int(m.GetActive()[record.EntityName(e)]), int(m.GetTotal()[record.EntityName(e)])
	}
	for family, n := range m.GetUsersByRole() {
		out.Families[record.Family(family)] = int(n)
	}
	out.Head, err = w.Head(ctx, d)
	return out, err
}

// Changes watches until the last revision has come.
func (w *wire) Changes(ctx context.Context, d store.DistrictID, after, last store.Revision) iter.Seq2[store.Event, error] {
	return func(yield func(store.Event, error) bool) {
		err := w.watch(ctx, d, after, last, func(e store.Event) bool { return yield(e, nil) })
		if err != nil {
			yield(store.Event{}, why(ctx, err))
		}
	}
}

func (w *wire) watch(ctx context.Context, d store.DistrictID, after, last store.Revision, yield func(store.Event) bool) error {
	head, err := w.Head(ctx, d)
	if err != nil {
		return err
	}
	if last > head.Revision {
		return store.ErrRevisionUnknown // a watch has no end of its own
	}
	if last == 0 {
		last = head.Revision
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := w.roster.Watch(w.all(ctx), &rosterv1.WatchRequest{District: string(d), After: int32(after)})
	if err != nil {
		return err
	}
	info := store.RevisionInfo{Revision: after}
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		switch e := m.GetEvent().(type) {
		case *rosterv1.WatchResponse_Begin:
			if after >= last {
				return nil // it was enough to see that the watch begins
			}
			info = store.RevisionInfo{Revision: store.Revision(e.Begin.GetRevision()), CommitTime: e.Begin.GetCommitTime().AsTime()}
			if !yield(store.Event{Phase: store.Begin, Revision: info}) {
				return nil
			}
		case *rosterv1.WatchResponse_Changes:
			for _, r := range e.Changes.GetRecords() {
				kind, err := w.kindOf(ctx, d, info.Revision, r)
				if err != nil {
					return err
				}
				rec := recordOf(r)
				rec.From = info.Revision
				if !yield(store.Event{Phase: store.Data, Revision: info, Kind: kind, Record: rec}) {
					return nil
				}
			}
		case *rosterv1.WatchResponse_End:
			if !yield(store.Event{Phase: store.End, Revision: info}) || info.Revision == last {
				return nil
			}
		case *rosterv1.WatchResponse_Bookmark:
			if info.Revision >= last {
				return nil
			}
		}
	}
}

// kindOf tells what a revision did to a record, which a watch does not say.
// After pruning it cannot be told any more.
func (w *wire) kindOf(ctx context.Context, d store.DistrictID, rev store.Revision, r *typev1.Record) (store.Kind, error) {
	at := keyOf(r)
	m, err := w.roster.GetRecord(w.all(ctx), &rosterv1.GetRecordRequest{
		District: string(d), Entity: record.EntityName(at.entity), SourcedId: at.id, AsOf: strconv.Itoa(int(rev - 1)),
	})
	switch before := err == nil && isActive(m.GetRecord()); {
	case errors.Is(err, store.ErrRevisionGone):
		return 0, nil
	case errors.Is(err, store.ErrRecordUnknown), err == nil && !before && isActive(r):
		return store.Created, nil
	case before && !isActive(r):
		return store.Removed, err
	}
	return store.Updated, err
}

func recordOf(r *typev1.Record) store.Record {
	body, err := proto.Marshal(r)
	if err != nil {
		panic(err)
	}
	at := keyOf(r)
	return store.Record{Entity: at.entity, ID: at.id, Body: body}
}

// Import tries again while the service has not noticed yet that a call for the
// same plan was given up.
func (w *wire) Import(ctx context.Context, h store.PlanHeader, records iter.Seq2[store.ImportRecord, error]) (store.Plan, error) {
	for {
		plan, err := w.stage(ctx, h, records)
		if !errors.Is(err, store.ErrPlanBusy) {
			return plan, err
		}
	}
}

func (w *wire) stage(ctx context.Context, h store.PlanHeader, records iter.Seq2[store.ImportRecord, error]) (store.Plan, error) {
	calling, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := w.roster.Import(w.all(calling))
	if err != nil {
		return store.Plan{}, why(ctx, err)
	}
	// What Send fails with is only that there is an answer already.
	err = stream.Send(&rosterv1.ImportRequest{Message: &rosterv1.ImportRequest_Header{Header: &rosterv1.PlanHeader{
		District: string(h.District), Plan: string(h.Plan), Sync: string(h.Sync), Complete: h.Complete, Fence: int64(h.Fence),
	}}})
	batch := &rosterv1.ImportBatch{}
	flush := func() {
		if err == nil && len(batch.GetRecords()) > 0 {
			err = stream.Send(&rosterv1.ImportRequest{Message: &rosterv1.ImportRequest_Batch{Batch: batch}})
		}
		batch = &rosterv1.ImportBatch{}
	}
	for r, readErr := range records {
		if readErr != nil {
			return store.Plan{}, readErr
		}
		if r.Entity != batch.GetEntity() || len(batch.GetRecords()) == 100 {
			flush()
		}
		batch.Entity = r.Entity
		batch.Records = append(batch.Records, &rosterv1.ImportRecord{SourcedId: r.ID, Hash: r.Hash[:], Body: slices.Clone(r.Body)})
		if err != nil {
			break
		}
	}
	flush()
	plan, err := stream.CloseAndRecv()
	return planOf(plan), why(ctx, err)
}

func planOf(p *rosterv1.Plan) store.Plan {
	if p == nil {
		return store.Plan{}
	}
	out := store.Plan{
		ID: store.PlanID(p.GetPlan()), Sync: store.SyncID(p.GetSync()), Base: store.Revision(p.GetBaseRevision()),
		CreateTime: p.GetCreateTime().AsTime(), Counts: countsOf(p.GetCounts()), Schools: map[string]map[store.Entity]store.Counts{},
		Revision: store.Revision(p.GetRevision()), LastUndo: store.Revision(p.GetLastUndo()),
		Effect: effectOf(p.GetPopulations(), p.GetSignals()), SchoolEffects: map[string]store.Effect{}, Digest: p.GetDigest(),
	}
	for _, s := range p.GetSchools() {
		out.Schools[s.GetSchoolId()] = countsOf(s.GetCounts())
		out.SchoolEffects[s.GetSchoolId()] = effectOf(s.GetPopulations(), s.GetSignals())
	}
	return out
}

func effectOf(populations map[string]int32, s *rosterv1.PlanSignals) store.Effect {
	out := store.Effect{
		Active: map[store.Entity]int{}, Students: int(s.GetStudents()), Emails: int(s.GetEmails()), Teachers: int(s.GetTeachers()),
		Signals: store.Signals{
			EmailsBlanked: int(s.GetEmailsBlanked()), UsersRekeyed: int(s.GetUsersRekeyed()), RolesFlipped: int(s.GetRolesFlipped()),
			ManyGuardians: int(s.GetStudentsManyGuardians()), EmergencyTurned: int(s.GetEmergencyContactsTurned()),
			SessionsEnded: int(s.GetSessionsEnded()), ClassesHalved: int(s.GetClassesHalved()), LosingEnrollments: int(s.GetStudentsLosingEnrollments()),
			TeachersLosing: int(s.GetTeachersLosingEnrollments()),
		},
	}
	for name, n := range populations {
		e, _ := record.ParseEntity(name)
		out.Active[e] = int(n)
	}
	return out
}

func (w *wire) Plan(ctx context.Context, d store.DistrictID, id store.PlanID) (store.Plan, error) {
	p, err := w.roster.GetPlan(w.all(ctx), &rosterv1.GetPlanRequest{District: string(d), Plan: string(id)})
	return planOf(p), why(ctx, err)
}

func (w *wire) PlanChanges(ctx context.Context, d store.DistrictID, id store.PlanID, q store.ChangeQuery) (store.ChangePage, error) {
	if q != (store.ChangeQuery{}) {
		return store.ChangePage{}, errNotAsked
	}
	page, err := w.roster.ListPlanChanges(w.all(ctx), &rosterv1.ListPlanChangesRequest{District: string(d), Plan: string(id)})
	return store.ChangePage{Total: int(page.GetTotalSize())}, why(ctx, err)
}

func (w *wire) Commit(ctx context.Context, d store.DistrictID, id store.PlanID, fence store.Fence) (store.Outcome, error) {
	done, err := w.roster.CommitPlan(w.all(ctx), &rosterv1.CommitPlanRequest{District: string(d), Plan: string(id), Fence: int64(fence)})
	if err != nil {
		return store.Outcome{}, why(ctx, err)
	}
	out := store.Outcome{Revision: store.Revision(done.GetRevision()), Committed: done.GetCommitted()}
	if out.Committed {
		w.mu.Lock()
		w.plans[out.Revision] = id
		w.mu.Unlock()
	}
	return out, nil
}

func (w *wire) Discard(ctx context.Context, d store.DistrictID, id store.PlanID) error {
	_, err := w.roster.DiscardPlan(w.all(ctx), &rosterv1.DiscardPlanRequest{District: string(d), Plan: string(id)})
	return why(ctx, err)
}

var _ store.Store = (*wire)(nil)
