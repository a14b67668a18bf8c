package rosterstore_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

func (w *wire) Snapshot(d store.DistrictID, rev store.Revision, scope store.Scope) store.Reader {
	return wireReader{w, d, rev, scope}
}

type wireReader struct {
	*wire
	d     store.DistrictID
	rev   store.Revision
	scope store.Scope
}

func (r wireReader) asOf() string { return strconv.Itoa(int(r.rev)) }

func (r wireReader) Get(ctx context.Context, e store.Entity, id string) (store.Record, error) {
	m, err := r.roster.GetRecord(r.as(ctx, r.scope), &rosterv1.GetRecordRequest{
		District: string(r.d), Entity: record.EntityName(e), SourcedId: id, AsOf: r.asOf(),
	})
	if err != nil {
		return store.Record{}, why(ctx, err)
	}
	out := recordOf(m.GetRecord())
	out.From = store.Revision(m.GetFromRevision())
	return out, nil
}

func (r wireReader) Page(ctx context.Context, q store.Query, after string, limit int) (store.Page, error) {
	req := &rosterv1.ListRecordsRequest{
		District: string(r.d), Entity: record.EntityName(q.Entity), AsOf: r.asOf(), PageSize: int32(max(limit, 1)),
		SourcedId: q.SourcedID, Role: q.Role, Email: q.Email, OrgId: q.OrgID, ClassId: q.ClassID, UserId: q.UserID,
		Status: q.Status, SchoolId: q.SchoolID, Q: q.Text,
	}
	if q.Entity == typev1.Entity_ENTITY_DEMOGRAPHICS && q.UserID != "" {
		req.UserId, req.SourcedId = "", q.UserID // they have the id of their user
	}
	position := func(id string) string { return fmt.Sprintf("%q %d %+v %+v %q", r.d, r.rev, r.scope, q, id) }
	if after != "" {
		r.mu.Lock()
		req.PageToken = r.pages[position(after)]
		r.mu.Unlock()
		if req.PageToken == "" {
			return store.Page{}, errNotAsked // a page begins where another has ended
		}
	}
	m, err := r.roster.ListRecords(r.as(ctx, r.scope), req)
	if pointless(q) && errors.Is(err, store.ErrInvalid) {
		return store.Page{}, nil
	}
	if err != nil {
		return store.Page{}, why(ctx, err)
	}
	out := store.Page{Total: int(m.GetTotalSize()), More: m.GetNextPageToken() != ""}
	for _, rec := range listed(m) {
		out.Records = append(out.Records, recordOf(rec))
	}
	if limit == 0 {
		return store.Page{Total: out.Total, More: out.Total > 0}, nil
	}
	if out.More {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.pages[position(out.Records[len(out.Records)-1].ID)] = m.GetNextPageToken()
	}
	return out, nil
}

// pointless tells whether a query has a condition that no record of its entity
// can meet. The service refuses it where the engine finds nothing.
func pointless(q store.Query) bool {
	users, enrollments := q.Entity == typev1.Entity_ENTITY_USERS, q.Entity == typev1.Entity_ENTITY_ENROLLMENTS
	noOrg := q.Entity == typev1.Entity_ENTITY_ACADEMIC_SESSIONS || q.Entity == typev1.Entity_ENTITY_DEMOGRAPHICS
	return q.Role != "" && !users && !enrollments || q.UserID != "" && !users && !enrollments || q.OrgID != "" && noOrg
}

// listed takes a page apart.
func listed(m *rosterv1.ListRecordsResponse) []*typev1.Record {
	var out []*typev1.Record
	for _, v := range m.GetOrgs() {
		out = append(out, &typev1.Record{Record: &typev1.Record_Org{Org: v}})
	}
	for _, v := range m.GetAcademicSessions() {
		out = append(out, &typev1.Record{Record: &typev1.Record_AcademicSession{AcademicSession: v}})
	}
	for _, v := range m.GetCourses() {
		out = append(out, &typev1.Record{Record: &typev1.Record_Course{Course: v}})
	}
	for _, v := range m.GetClasses() {
		out = append(out, &typev1.Record{Record: &typev1.Record_Class{Class: v}})
	}
	for _, v := range m.GetUsers() {
		out = append(out, &typev1.Record{Record: &typev1.Record_User{User: v}})
	}
	for _, v := range m.GetEnrollments() {
		out = append(out, &typev1.Record{Record: &typev1.Record_Enrollment{Enrollment: v}})
	}
	for _, v := range m.GetDemographics() {
		out = append(out, &typev1.Record{Record: &typev1.Record_Demographics{Demographics: v}})
	}
	return out
}

func (r wireReader) Scan(ctx context.Context, after store.Position, entities ...store.Entity) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		if r.rev == 0 { // which an export reads as the newest
			_, err := r.Page(ctx, store.Query{Entity: typev1.Entity_ENTITY_ORGS}, "", 1)
			if err != nil {
				yield(store.Record{}, err)
			}
			return
		}
		req := &rosterv1.ExportRequest{District: string(r.d), Revision: int32(r.rev)}
		for _, e := range entities {
			req.Entities = append(req.Entities, record.EntityName(e))
		}
		if after != (store.Position{}) {
			req.Resume = append(binary.AppendUvarint(nil, uint64(after.Entity)), after.ID...)
		}
		calling, cancel := context.WithCancel(r.as(ctx, r.scope))
		defer cancel()
		stream, err := r.roster.Export(calling, req)
		for err == nil {
			var m *rosterv1.ExportResponse
			m, err = stream.Recv()
			for _, rec := range m.GetRecords() {
				if !yield(recordOf(rec), nil) {
					return
				}
			}
		}
		if !errors.Is(err, io.EOF) {
			yield(store.Record{}, why(ctx, err))
		}
	}
}

func (r wireReader) History(ctx context.Context, e store.Entity, id string) ([]store.Record, error) {
	if _, err := r.Get(ctx, e, id); err != nil {
		return nil, err
	}
	m, err := r.roster.GetRecordHistory(r.as(ctx, r.scope), &rosterv1.GetRecordHistoryRequest{
		District: string(r.d), Entity: record.EntityName(e), SourcedId: id,
	})
	if err != nil {
		return nil, why(ctx, err)
	}
	var out []store.Record
	for _, v := range m.GetVersions() {
		rec := recordOf(v.GetRecord())
		rec.From, rec.To = store.Revision(v.GetFromRevision()), store.Revision(v.GetToRevision())
		if rec.From > r.rev {
			continue
		}
		if rec.To > r.rev {
			rec.To = 0
		}
		out = append(out, rec)
	}
	return out, nil
}
