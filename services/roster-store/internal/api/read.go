package api

import (
	"context"
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/pagetoken"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// ListRecords implements RosterService.
func (s *Server) ListRecords(ctx context.Context, req *rosterv1.ListRecordsRequest) (*rosterv1.ListRecordsResponse, error) {
	size, err := pagetoken.Size(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	q, err := queryOf(req)
	if err != nil {
		return nil, err
	}
	scope := scopeOf(ctx)
	bound := binding(append([]string{
		req.GetDistrict(), req.GetEntity(), req.GetAsOf(), q.SourcedID, q.Role, q.Email, q.OrgID, q.ClassID,
		q.UserID, q.Status, q.SchoolID, q.Text,
	}, scope.Schools...)...)
	rev, after, err := s.position(ctx, req, bound)
	if err != nil {
		return nil, err
	}
	page, err := s.store.Snapshot(store.DistrictID(req.GetDistrict()), rev, scope).Page(ctx, q, after, size)
	if err != nil {
		return nil, outward(req.GetDistrict(), err)
	}
	out := &rosterv1.ListRecordsResponse{
		TotalSize: count(page.Total),
		Revision:  count(rev),
	}
	for _, r := range page.Records {
		if err := add(out, r); err != nil {
			return nil, err
		}
	}
	if page.More {
		last := page.Records[len(page.Records)-1].ID
		out.NextPageToken = s.tokens.Seal(bound, append(binary.AppendUvarint(nil, uint64(rev)), last...)) // never negative
	}
	return out, nil
}

// position returns the revision to read and the id to go on after.
func (s *Server) position(ctx context.Context, req *rosterv1.ListRecordsRequest, bound []byte) (store.Revision, string, error) {
	if req.GetPageToken() == "" {
		rev, err := s.revisionOf(ctx, req.GetDistrict(), req.GetAsOf())
		return rev, "", err
	}
	position, err := s.tokens.Open(req.GetPageToken(), bound)
	if err != nil {
		return 0, "", err
	}
	rev, n := binary.Uvarint(position)
	if n <= 0 {
		return 0, "", invalid("pageToken", "is damaged: start again from the first page")
	}
	return store.Revision(rev), string(position[n:]), nil // sealed by ListRecords
}

// separators lets a name be searched as it is listed: "Last, First".
var separators = strings.NewReplacer(",", " ", ";", " ")

func queryOf(req *rosterv1.ListRecordsRequest) (store.Query, error) {
	e, err := entityOf(req.GetEntity())
	if err != nil {
		return store.Query{}, err
	}
	q := store.Query{
		Entity: e, SourcedID: req.GetSourcedId(), Role: req.GetRole(), Email: req.GetEmail(), OrgID: req.GetOrgId(),
		ClassID: req.GetClassId(), UserID: req.GetUserId(), Status: req.GetStatus(), SchoolID: req.GetSchoolId(), Text: separators.Replace(req.GetQ()),
	}
	users := e == typev1.Entity_ENTITY_USERS
	enrollments := e == typev1.Entity_ENTITY_ENROLLMENTS
	for _, f := range []struct {
		name, value string
		known       bool
	}{
		{"role", q.Role, users || enrollments || e == typev1.Entity_ENTITY_DEMOGRAPHICS},
		{"email", q.Email, users},
		{"classId", q.ClassID, enrollments},
		{"userId", q.UserID, users || enrollments},
		{"orgId", q.OrgID, e != typev1.Entity_ENTITY_ACADEMIC_SESSIONS && e != typev1.Entity_ENTITY_DEMOGRAPHICS},
	} {
		if f.value != "" && !f.known {
			return q, invalid(f.name, "%s cannot be searched by it: leave it out", req.GetEntity())
		}
	}
	if q.Status != "" && q.Status != record.StatusActive && q.Status != record.StatusToBeDeleted {
		return q, invalid("status", "must be active or tobedeleted, or left out for both")
	}
	return q, nil
}

// revisionOf reads asOf.
func (s *Server) revisionOf(ctx context.Context, district, asOf string) (store.Revision, error) {
	return s.namedRevision(ctx, district, "asOf", asOf)
}

// namedRevision reads "42", a date (its end) or a time; the head if it is empty.
func (s *Server) namedRevision(ctx context.Context, district, field, asOf string) (store.Revision, error) {
	d := store.DistrictID(district)
	if asOf == "" {
		head, err := s.store.Head(ctx, d)
		return head.Revision, outward(district, err)
	}
	if n, err := strconv.ParseInt(asOf, 10, 64); err == nil {
		if n < 0 {
			return 0, invalid(field, "a revision is not negative")
		}
		return store.Revision(n), nil
	}
	// A plus that was not escaped arrives as a space.
	t, err := time.Parse(time.RFC3339, strings.Replace(asOf, " ", "+", 1))
	if err != nil {
		day, dayErr := time.Parse(time.DateOnly, asOf)
		if dayErr != nil {
			return 0, invalid(field, "must be a revision (42), a date (2026-11-21) or a time (2026-11-21T08:00:00Z)")
		}
		t = day.AddDate(0, 0, 1).Add(-1)
	}
	rev, err := s.store.RevisionAt(ctx, d, t)
	return rev, outward(district, err)
}

func add(out *rosterv1.ListRecordsResponse, r store.Record) error {
	rec, err := decode(r)
	if err != nil {
		return err
	}
	switch v := rec.GetRecord().(type) {
	case *typev1.Record_User:
		out.Users = append(out.Users, v.User)
	case *typev1.Record_Enrollment:
		out.Enrollments = append(out.Enrollments, v.Enrollment)
	case *typev1.Record_Class:
		out.Classes = append(out.Classes, v.Class)
	case *typev1.Record_Course:
		out.Courses = append(out.Courses, v.Course)
	case *typev1.Record_AcademicSession:
		out.AcademicSessions = append(out.AcademicSessions, v.AcademicSession)
	case *typev1.Record_Demographics:
		out.Demographics = append(out.Demographics, v.Demographics)
	case *typev1.Record_Org:
		out.Orgs = append(out.Orgs, v.Org)
	}
	return nil
}

// GetRecord implements RosterService.
func (s *Server) GetRecord(ctx context.Context, req *rosterv1.GetRecordRequest) (*rosterv1.GetRecordResponse, error) {
	e, err := recordKey(req)
	if err != nil {
		return nil, err
	}
	rev, err := s.revisionOf(ctx, req.GetDistrict(), req.GetAsOf())
	if err != nil {
		return nil, err
	}
	r, err := s.store.Snapshot(store.DistrictID(req.GetDistrict()), rev, scopeOf(ctx)).Get(ctx, e, req.GetSourcedId())
	if err != nil {
		return nil, outward(req.GetDistrict(), err)
	}
	rec, err := decode(r)
	if err != nil {
		return nil, err
	}
	return &rosterv1.GetRecordResponse{Record: rec, Revision: count(rev), FromRevision: count(r.From)}, nil
}

func recordKey(req interface {
	GetEntity() string
	GetSourcedId() string
},
) (typev1.Entity, error) {
	if req.GetSourcedId() == "" {
		return 0, invalid("sourcedId", "is required")
	}
	return entityOf(req.GetEntity())
}

// GetRecordHistory implements RosterService.
func (s *Server) GetRecordHistory(ctx context.Context, req *rosterv1.GetRecordHistoryRequest) (*rosterv1.GetRecordHistoryResponse, error) {
	e, err := recordKey(req)
	if err != nil {
		return nil, err
	}
	d := store.DistrictID(req.GetDistrict())
	head, err := s.store.Head(ctx, d)
	if err != nil {
		return nil, outward(req.GetDistrict(), err)
	}
	history, err := s.store.Snapshot(d, head.Revision, scopeOf(ctx)).History(ctx, e, req.GetSourcedId())
	if err != nil {
		return nil, outward(req.GetDistrict(), err)
	}
	out := &rosterv1.GetRecordHistoryResponse{Versions: make([]*rosterv1.RecordVersion, len(history))}
	for i, r := range history {
		rec, err := decode(r)
		if err != nil {
			return nil, err
		}
		v := &rosterv1.RecordVersion{FromRevision: count(r.From), ToRevision: count(r.To), Record: rec}
		// Pruning may have taken the revision that brought the oldest version.
		if made, err := s.store.Revisions(ctx, d, r.From+1, 1); err != nil {
			return nil, outward(req.GetDistrict(), err)
		} else if len(made) > 0 && made[0].Revision == r.From {
			v.CommitTime = timestamppb.New(made[0].CommitTime)
		}
		out.Versions[i] = v
	}
	for i := range len(out.Versions) - 1 {
		if out.Versions[i].Fields, err = fieldChanges(out.Versions[i+1].Record, out.Versions[i].Record); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func fieldChanges(before, after *typev1.Record) ([]*rosterv1.FieldChange, error) {
	diff, err := record.Diff(before, after)
	if err != nil {
		return nil, err
	}
	out := make([]*rosterv1.FieldChange, len(diff))
	for i, f := range diff {
		out[i] = &rosterv1.FieldChange{Field: f.Field, Before: f.Before, After: f.After}
	}
	return out, nil
}

// ListRevisions implements RosterService.
func (s *Server) ListRevisions(ctx context.Context, req *rosterv1.ListRevisionsRequest) (*rosterv1.ListRevisionsResponse, error) {
	size, err := pagetoken.Size(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	bound := binding(req.GetDistrict(), "revisions")
	before := store.Revision(0)
	if req.GetPageToken() != "" {
		position, err := s.tokens.Open(req.GetPageToken(), bound)
		if err != nil {
			return nil, err
		}
		n, _ := binary.Uvarint(position)
		before = store.Revision(n) // sealed below
	}
	infos, err := s.store.Revisions(ctx, store.DistrictID(req.GetDistrict()), before, size)
	if err != nil {
		return nil, outward(req.GetDistrict(), err)
	}
	out := &rosterv1.ListRevisionsResponse{}
	for _, r := range infos {
		m := &rosterv1.Revision{
			Revision: count(r.Revision), CommitTime: timestamppb.New(r.CommitTime), Sync: string(r.Sync), Counts: counts(r.Counts),
		}
		if r.Undo != nil {
			m.Undo = &rosterv1.Undo{To: count(r.Undo.To)}
		}
		out.Revisions = append(out.Revisions, m)
	}
	if last := len(infos) - 1; last+1 == size && infos[last].Revision > 1 {
		out.NextPageToken = s.tokens.Seal(bound, binary.AppendUvarint(nil, uint64(infos[last].Revision))) // never negative
	}
	return out, nil
}

// GetSummary implements RosterService.
func (s *Server) GetSummary(ctx context.Context, req *rosterv1.GetSummaryRequest) (*rosterv1.Summary, error) {
	sum, err := s.store.Summary(ctx, store.DistrictID(req.GetDistrict()), scopeOf(ctx))
	if err != nil {
		return nil, outward(req.GetDistrict(), err)
	}
	out := &rosterv1.Summary{
		Revision: count(sum.Head.Revision),
		Active:   map[string]int32{}, Total: map[string]int32{}, UsersByRole: map[string]int32{},
	}
	if sum.Head.Revision > 0 {
		out.CommitTime = timestamppb.New(sum.Head.CommitTime)
	}
	for _, e := range record.Entities() {
		out.Active[record.EntityName(e)] = count(sum.Active[e])
		out.Total[record.EntityName(e)] = count(sum.Total[e])
	}
	for _, f := range record.Families() {
		out.UsersByRole[string(f)] = count(sum.Families[f])
	}
	return out, nil
}
