package explain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/merge"
	"github.com/securly/sync/services/platform/record"
)

// present is the verdict of a record that is there.
const present = "present"

// The types of reasons, what tells most first.
const (
	erased            = "erased"
	waiting           = "waiting"
	rejected          = "rejected"
	notShared         = "not-shared"
	syncFailed        = "sync-failed"
	syncDiscarded     = "sync-discarded"
	syncCancelled     = "sync-cancelled"
	syncRunning       = "sync-running"
	notSynced         = "not-synced"
	deletedBySource   = "deleted-by-source"
	takenBack         = "taken-back"
	leftOut           = "left-out"
	sourceRemoved     = "source-removed"
	noLongerDelivered = "no-longer-delivered"
	neverDelivered    = "never-delivered"
	onlyCorrected     = "only-corrected"
)

var order = []string{
	erased, waiting, rejected, notShared, syncFailed, syncDiscarded, syncCancelled, syncRunning, notSynced,
	deletedBySource, takenBack, leftOut, sourceRemoved, noLongerDelivered, neverDelivered, onlyCorrected,
}

// stored asks the roster.
func (q *question) stored(ctx context.Context) error {
	got, err := q.Roster.GetRecord(ctx, &rosterv1.GetRecordRequest{District: q.district, Entity: q.name, SourcedId: q.id})
	if errors.Is(err, errRecordUnknown) {
		return nil
	}
	if err != nil {
		return err
	}
	_, base := record.Of(got.GetRecord())
	s := &ingestv1.StoredRecord{Status: base.GetStatus(), FromRevision: got.GetFromRevision()}
	q.out.Stored = s
	history, err := q.Roster.GetRecordHistory(ctx, &rosterv1.GetRecordHistoryRequest{District: q.district, Entity: q.name, SourcedId: q.id})
	if err != nil && !errors.Is(err, errRecordUnknown) {
		return err
	}
	if v := history.GetVersions(); len(v) > 0 && v[0].GetFromRevision() == s.GetFromRevision() {
		s.CommitTime = v[0].GetCommitTime()
	}
	var by *ingestv1.Sync
	for _, doc := range q.syncs {
		if doc.GetSync().GetRevision() == s.GetFromRevision() || doc.GetSync().GetAppliedPart().GetRevision() == s.GetFromRevision() {
			by, s.Sync = doc.GetSync(), doc.GetSync().GetSyncId()
		}
	}
	if s.GetStatus() == record.StatusActive {
		return q.fields(ctx, got.GetRecord())
	}
	return q.removed(ctx, by)
}

// fields tells of each field of a record its value and where it is from.
func (q *question) fields(ctx context.Context, rec *typev1.Record) error {
	all, err := record.Diff(nil, rec)
	if err != nil {
		return err
	}
	from := map[string]string{}
	switch len(q.streams) {
	case 0:
	case 1:
		for _, f := range all {
			from[f.Field] = q.streams[0].source
		}
	default:
		streams := make([]merge.Stream, len(q.streams))
		for i, s := range q.streams {
			streams[i] = merge.Stream{Source: s.source, Rank: s.rank, Entries: q.entries(ctx, s.file)}
		}
		_, origins, err := merge.Provenance([]byte(q.id), streams...)
		if err != nil {
			return err
		}
		for _, o := range origins {
			from[o.Field] = o.Source
		}
	}
	for _, f := range all {
		q.out.Stored.Fields = append(q.out.Stored.Fields, &ingestv1.StoredField{Field: f.Field, Value: f.After, Source: from[f.Field]})
	}
	// Metadata and relatives may be of several sources.
	for field, source := range from {
		name, part, nested := strings.Cut(field, ".")
		if !nested {
			continue
		}
		value := ""
		if name == "metadata" {
			value = member(all, part)
		}
		q.out.Stored.Fields = append(q.out.Stored.Fields, &ingestv1.StoredField{Field: field, Value: value, Source: source})
	}
	slices.SortFunc(q.out.Stored.Fields, func(a, b *ingestv1.StoredField) int { return strings.Compare(a.GetField(), b.GetField()) })
	return nil
}

// member returns one value of the metadata as JSON text.
func member(all []record.FieldChange, key string) string {
	for _, f := range all {
		var values map[string]json.RawMessage
		if f.Field == "metadata" && json.Unmarshal([]byte(f.After), &values) == nil {
			return string(values[key])
		}
	}
	return ""
}

// removed says how a record went that the roster once had. by is the sync that
// did it; nil if that is not known.
func (q *question) removed(ctx context.Context, by *ingestv1.Sync) error {
	s := q.out.GetStored()
	r := &ingestv1.ExplainReason{Source: by.GetSource(), Sync: by.GetSyncId(), Revision: s.GetFromRevision(), Time: s.GetCommitTime()}
	gone := fmt.Sprintf("it was removed with revision %d, %s", s.GetFromRevision(), q.on(s.GetCommitTime().AsTime()))
	switch undo, err := q.undo(ctx, s.GetFromRevision()); {
	case err != nil:
		return err
	case undo != nil:
		r.Type = takenBack
		r.Message = fmt.Sprintf("%s, by taking the roster back to revision %d, which did not have it", gone, undo.GetTo())
		r.NextStep = "sync the source that has it: its next plan waits for a person, who can approve it"
	case by.GetRemovesSource():
		r.Type, r.Message = sourceRemoved, fmt.Sprintf("%s, together with source %s", gone, by.GetSource())
		r.NextStep = "connect the source again, if it should be there"
	case by == nil:
		r.Type, r.Message = noLongerDelivered, gone
		r.NextStep = "look whether the source still has it"
	default:
		r.Type = noLongerDelivered
		r.Message = fmt.Sprintf("%s, because the package that source %s had delivered did not have it any more", gone, by.GetSource())
		r.NextStep = "look whether the source still has it, and whether its export leaves it out"
	}
	if q.streams.makes() && r.GetType() == noLongerDelivered {
		return nil // it is delivered again
	}
	q.reason(r)
	return nil
}

// undo tells whether a revision took the roster back.
func (q *question) undo(ctx context.Context, revision int32) (*rosterv1.Undo, error) {
	for token := ""; ; {
		page, err := q.Roster.ListRevisions(ctx, &rosterv1.ListRevisionsRequest{District: q.district, PageSize: 1000, PageToken: token})
		if err != nil {
			return nil, err
		}
		for _, r := range page.GetRevisions() {
			if r.GetRevision() == revision {
				return r.GetUndo(), nil
			}
		}
		if token = page.GetNextPageToken(); token == "" {
			return nil, nil
		}
	}
}

// conclude says what follows from all that was found.
func (q *question) conclude() {
	there := q.out.GetStored().GetStatus() == record.StatusActive
	if !there {
		q.absent()
		q.corrections()
	}
	q.again()
	slices.SortStableFunc(q.out.Reasons, func(a, b *ingestv1.ExplainReason) int {
		return slices.Index(order, a.GetType()) - slices.Index(order, b.GetType())
	})
	if !there {
		first := q.out.GetReasons()[0]
		q.out.Verdict, q.out.Message, q.out.NextStep = first.GetType(), first.GetMessage(), first.GetNextStep()
		return
	}
	q.out.Verdict = present
	q.out.Message = fmt.Sprintf("it is there, as revision %d has brought it", q.out.GetStored().GetFromRevision())
	for _, s := range q.out.GetSources() {
		for _, p := range s.GetPackages() {
			if rows := p.GetRows(); s.GetHas() && len(rows) > 0 {
				q.out.Message += fmt.Sprintf("; source %s delivers it in %s, row %d", s.GetSource(), rows[0].GetFile(), rows[0].GetRow())
				break
			}
		}
	}
	if len(q.out.GetReasons()) > 0 {
		q.out.Message += "; " + q.out.GetReasons()[0].GetMessage()
		q.out.NextStep = q.out.GetReasons()[0].GetNextStep()
	}
}

// absent finds a reason for what is not there, if nothing has said one.
func (q *question) absent() {
	packages, references := 0, 0
	for _, s := range q.out.GetSources() {
		if q.streams.of(s.GetSource()).makes() {
			q.reason(&ingestv1.ExplainReason{
				Type: leftOut, Source: s.GetSource(), Sync: s.GetSync(),
				Message:  fmt.Sprintf("source %s delivers it, and the roster does not have it any more or not yet", s.GetSource()),
				NextStep: "sync the source again: it is planned anew",
			})
		}
		for _, p := range s.GetPackages() {
			references += len(p.GetReferences())
			if p.GetUnread() == "" {
				packages++
			}
		}
	}
	if len(q.out.GetReasons()) > 0 {
		return
	}
	r := &ingestv1.ExplainReason{
		Type: neverDelivered, Message: fmt.Sprintf("no source has delivered it, as far as that is kept: packages looked at: %d", packages),
		NextStep: "look for it in the source, and whether its export has it under another id, which must agree in every character",
	}
	switch {
	case len(q.out.GetSources()) == 0:
		r.Message, r.NextStep = "the district has no source", "connect one"
	case references > 0:
		r.Message += fmt.Sprintf("; rows that refer to it: %d", references)
	}
	q.reason(r)
}
