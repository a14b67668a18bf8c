package explain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/connector/catalogue"
	"github.com/securly/sync/services/ingest/internal/connector/onerostercsv"
	"github.com/securly/sync/services/ingest/internal/finding"
	"github.com/securly/sync/services/ingest/internal/guardian"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/ingest/internal/mapping"
	"github.com/securly/sync/services/ingest/internal/merge"
	"github.com/securly/sync/services/ingest/internal/sharing"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/record"
)

const (
	// maxNewer is how many packages are read that are newer than a source's records.
	maxNewer = 3
	// maxOlder is how many before them, if they hold only changes.
	maxOlder = 9
)

// stream is a layer file that has the id.
type stream struct {
	source string
	rank   merge.Rank
	file   *ingestv1.LayerFile
	entry  *layer.Entry
}

// asked is what is known of one source while it is asked.
type asked struct {
	*ingestv1.SourceEvidence
	layer   *ingestv1.LayerDocument
	syncs   []*ingestv1.SyncDocument // its own, oldest first
	uploads map[string]*ingestv1.UploadDocument
	mapped  *mapping.Mapping
	opaque  bool         // its rows may be of an erased person whose id they do not have
	newest  string       // upload
	base    *layer.Entry // that its records have; nil for none
	had     said         // that is of it in the roster
	// Of a guardian file: its settings, and whom the id is linked with in it.
	guardians *ingestv1.GuardianFile
	manual    bool // entered by hand
	relatives []string
}

// source finds out what one source says of the id.
func (q *question) source(ctx context.Context, source *ingestv1.Source) error {
	a := &asked{
		SourceEvidence: &ingestv1.SourceEvidence{Source: source.GetSourceId(), DisplayName: source.GetDisplayName(), Rules: rules(source)},
		uploads:        map[string]*ingestv1.UploadDocument{}, guardians: source.GetGuardians(), manual: catalogue.Manual(source.GetConnector()),
	}
	for id := range q.gone {
		a.opaque = a.opaque || !guardian.Names(source.GetGuardians(), id)
	}
	var err error
	if a.mapped, err = onerostercsv.MappingOf(source); err != nil {
		return err
	}
	if a.layer, err = q.Store.Layer(ctx, q.district, a.GetSource()); err != nil {
		return err
	}
	for _, s := range q.syncs {
		if s.GetSync().GetSource() == a.GetSource() {
			a.syncs = append(a.syncs, s)
		}
		if s.GetSync().GetSyncId() == a.layer.GetSync() && a.layer.GetSync() != "" {
			a.Sync, a.SyncTime = a.layer.GetSync(), s.GetSync().GetEndTime()
		}
	}
	for doc, err := range q.Store.Uploads.All(ctx, state.Within(q.district, a.GetSource())) {
		if err != nil {
			return err
		}
		a.uploads[doc.Value.GetUploadId()], a.newest = doc.Value, doc.Value.GetUploadId()
	}
	if err := q.records(ctx, source, a); err != nil {
		return err
	}
	if err := q.newer(ctx, a); err != nil {
		return err
	}
	if err := q.current(ctx, a); err != nil {
		return err
	}
	q.asked, q.out.Sources = append(q.asked, a), append(q.out.Sources, a.SourceEvidence)
	return nil
}

// rules are what is done to the records of a source.
func rules(s *ingestv1.Source) []string {
	var out []string
	if s.GetStopped().GetFrozen() {
		out = append(out, "the source is stopped, and its records stay as they are")
	}
	if catalogue.Manual(s.GetConnector()) {
		out = append(out, "its records are entered by hand")
	}
	if n := len(s.GetMapping().GetRecords()); n > 0 {
		out = append(out, "its columns are read by the mapping of the source")
	}
	if s.GetGuardians() != nil {
		out = append(out, "its rows are matched with the students of other sources, as the guardian settings say")
	}
	if s.GetSharing() != nil {
		out = append(out, "only what the sharing settings say becomes part of the roster")
	}
	return out
}

// records looks for the id in what the source has in the roster.
func (q *question) records(ctx context.Context, source *ingestv1.Source, a *asked) (err error) {
	files := state.Current(a.layer)
	if a.had, err = q.said(ctx, a, files); err != nil {
		return err
	}
	for _, s := range a.had {
		q.streams = append(q.streams, s)
		a.Has = a.Has || !s.entry.Deleted
		if s.rank == merge.Base {
			a.base = s.entry
		}
	}
	if a.base != nil && a.base.Deleted {
		q.reason(&ingestv1.ExplainReason{
			Type: deletedBySource, Source: a.GetSource(), Sync: a.GetSync(),
			Message:  fmt.Sprintf("source %s delivers it with the status tobedeleted", a.GetSource()),
			NextStep: "have it made active in the source, if it should be there",
		})
	}
	if a.base != nil || files.Shared[q.name] == nil {
		return nil
	}
	if a.base, err = q.find(ctx, files.Base[q.name]); err != nil || a.base == nil {
		return err
	}
	why, _, err := sharing.Why(source.GetSharing(), func(e typev1.Entity) iter.Seq2[layer.Entry, error] {
		other := *q
		other.name = record.EntityName(e)
		return other.entries(ctx, files.Base[other.name])
	}, q.entity, q.id)
	if err != nil && !errors.Is(err, layer.ErrDamaged) {
		return err
	}
	text := fmt.Sprintf("source %s delivers it, and its sharing settings leave it out", a.GetSource())
	if why.Rule != "" {
		text += fmt.Sprintf(" by the rule %s", why.Rule)
	}
	if why.ID != "" && why.ID != q.id {
		text += fmt.Sprintf(", because of %q among the %s", why.ID, record.EntityName(why.Entity))
	}
	q.reason(&ingestv1.ExplainReason{
		Type: notShared, Source: a.GetSource(), Sync: a.GetSync(), Code: string(why.Rule), Message: text,
		NextStep: "change the sharing settings of the source, if it should be there",
	})
	return nil
}

// newer looks at what the source has delivered since its records were made.
func (q *question) newer(ctx context.Context, a *asked) error {
	if last := a.uploads[a.newest]; last != nil && !slices.ContainsFunc(a.syncs, func(s *ingestv1.SyncDocument) bool {
		return s.GetSync().GetUploadId() >= a.newest
	}) {
		p, err := q.read(ctx, a, last.GetUploadId(), nil, false)
		if err != nil {
			return err
		}
		if len(p.GetRows()) > 0 {
			q.reason(&ingestv1.ExplainReason{
				Type: notSynced, Source: a.GetSource(), UploadId: a.newest, Time: last.GetCreateTime(), File: p.GetRows()[0].GetFile(), Row: p.GetRows()[0].GetRow(),
				Message:  fmt.Sprintf("it is in a package that source %s was given %s and that was not synced yet", a.GetSource(), q.on(last.GetCreateTime().AsTime())),
				NextStep: "sync the source",
			})
		}
	}
	read := map[string]bool{}
	for _, s := range slices.Backward(a.syncs) {
		sync := s.GetSync()
		if sync.GetSyncId() <= a.layer.GetSync() && !a.layer.GetInPart() || sync.GetSyncId() < a.layer.GetSync() || len(read) == maxNewer {
			break
		}
		if sync.GetDryRun() || sync.GetState() == ingestv1.SyncState_SUPERSEDED || read[sync.GetUploadId()] {
			continue
		}
		var next said
		switch sync.GetState() {
		case ingestv1.SyncState_PLANNING, ingestv1.SyncState_ON_HOLD, ingestv1.SyncState_COMMITTING:
			var err error
			if next, err = q.said(ctx, a, state.Made(s)); err != nil {
				return err
			}
		}
		var p *ingestv1.PackageEvidence
		if sync.GetUploadId() != "" {
			read[sync.GetUploadId()] = true
			var err error
			if p, err = q.read(ctx, a, sync.GetUploadId(), s, false); err != nil {
				return err
			}
		}
		q.pending(a, s, p, next)
	}
	return nil
}

// pending says what a sync means whose records are not the source's yet. p is
// nil if it has read no package; next is what the source says with it.
func (q *question) pending(a *asked, s *ingestv1.SyncDocument, p *ingestv1.PackageEvidence, next said) {
	sync, source := s.GetSync(), a.GetSource()
	r := &ingestv1.ExplainReason{Source: source, Sync: sync.GetSyncId(), UploadId: sync.GetUploadId(), Time: sync.GetCreateTime()}
	if rows := p.GetRows(); len(rows) > 0 {
		r.File, r.Row = rows[0].GetFile(), rows[0].GetRow()
	}
	switch sync.GetState() {
	case ingestv1.SyncState_PLANNING, ingestv1.SyncState_ON_HOLD, ingestv1.SyncState_COMMITTING:
		if r.Code = a.had.change(next); r.GetCode() == "" {
			if !next.live() && a.base == nil {
				q.rejected(a, s, p)
			}
			return
		}
		begun := fmt.Sprintf("a sync of source %s, begun %s, ", source, q.on(sync.GetCreateTime().AsTime()))
		r.Type, r.Message, r.NextStep = waiting, begun+"waits for a person: in it, it is "+r.GetCode(), "look at the sync, and approve or discard it"
		if sync.GetState() != ingestv1.SyncState_ON_HOLD {
			r.Type, r.Message, r.NextStep = syncRunning, begun+"has not ended yet: in it, it is "+r.GetCode(), "wait until it has ended"
		}
		q.reason(r)
		return
	}
	if len(p.GetRows()) == 0 {
		return
	}
	begun := fmt.Sprintf("it is in %s, row %d, of the package of a sync of source %s, begun %s, that ", r.GetFile(), r.GetRow(), source, q.on(sync.GetCreateTime().AsTime()))
	switch sync.GetState() {
	case ingestv1.SyncState_FAILED:
		r.Type, r.Message, r.NextStep = syncFailed, begun+"has failed: "+sync.GetError(), "do what the error of the sync says, and sync again"
	case ingestv1.SyncState_DISCARDED:
		r.Type, r.Message, r.NextStep = syncDiscarded, begun+"a person has discarded", "sync the source again, if it was discarded for something else that is corrected now"
	case ingestv1.SyncState_CANCELLED:
		r.Type, r.Message, r.NextStep = syncCancelled, begun+"a person has cancelled", "sync the source again"
	case ingestv1.SyncState_COMPLETED:
		return // it has become the layer meanwhile
	default:
		r.Type, r.Message, r.NextStep = syncRunning, begun+"has not ended yet", "wait until it has ended"
	}
	q.reason(r)
	q.rejected(a, s, p)
}

// current looks at the package that the source's records are from, and where
// that has only changes, at those before it.
func (q *question) current(ctx context.Context, a *asked) error {
	at := slices.IndexFunc(a.syncs, func(s *ingestv1.SyncDocument) bool { return s.GetSync().GetSyncId() == a.layer.GetSync() })
	if at < 0 || a.layer.GetSync() == "" || a.syncs[at].GetSync().GetUploadId() == "" {
		return nil
	}
	made := a.reader(a.syncs[at])
	p, err := q.read(ctx, a, made.GetSync().GetUploadId(), made, !a.Has || a.guardians != nil)
	if err != nil {
		return err
	}
	if !a.Has && a.base == nil {
		q.rejected(a, made, p)
		if rows := p.GetRows(); len(rows) > 0 && made.GetSync().GetCounts()[q.name].GetWithheld() > 0 {
			q.reason(&ingestv1.ExplainReason{
				Type: leftOut, Source: a.GetSource(), Sync: a.GetSync(), UploadId: p.GetUploadId(), Time: a.GetSyncTime(), File: rows[0].GetFile(), Row: rows[0].GetRow(),
				Message: fmt.Sprintf("it is in %s, row %d, of the package that source %s was last synced from, and whoever approved a part of that sync has left it out",
					rows[0].GetFile(), rows[0].GetRow(), a.GetSource()),
				NextStep: "sync the source again, and approve what is left",
			})
		}
		return nil
	}
	q.keptBack(a, made, p)
	for i, n := at-1, 0; i >= 0 && n < maxOlder && len(p.GetRows()) == 0 && a.syncs[i+1].GetPartial(); i, n = i-1, n+1 {
		if p, err = q.read(ctx, a, a.syncs[i].GetSync().GetUploadId(), a.syncs[i], false); err != nil {
			return err
		}
	}
	return nil
}

// reader is the sync that has read the package of s: another one if s has only
// shared anew what that has read.
func (a *asked) reader(s *ingestv1.SyncDocument) *ingestv1.SyncDocument {
	for _, other := range slices.Backward(a.syncs) {
		if s.GetSync().GetRemerge() && !other.GetSync().GetRemerge() && other.GetSync().GetUploadId() == s.GetSync().GetUploadId() && other.GetFindingsKey() != "" {
			return other
		}
	}
	return s
}

// read looks for the id in a package, once.
func (q *question) read(ctx context.Context, a *asked, upload string, s *ingestv1.SyncDocument, references bool) (*ingestv1.PackageEvidence, error) {
	for _, p := range a.GetPackages() {
		if p.GetUploadId() == upload {
			return p, nil
		}
	}
	kept := a.uploads[upload]
	p := &ingestv1.PackageEvidence{UploadId: upload, CreateTime: kept.GetCreateTime(), Sync: s.GetSync().GetSyncId(), SyncState: s.GetSync().GetState(), Unread: noLongerKept}
	a.Packages = append(a.Packages, p)
	if kept == nil {
		return p, nil
	}
	p.Unread = ""
	look := scan{entity: q.entity, id: q.id, references: references, hide: q.erased != nil || a.opaque, gone: q.gone, mapped: a.mapped}
	if a.guardians != nil {
		look.own = q.guardian(a)
	}
	if err := q.look(ctx, look, kept, p); err != nil {
		return nil, err
	}
	return p, q.findings(ctx, s, p)
}

// findings adds what a sync has found in the rows.
func (q *question) findings(ctx context.Context, s *ingestv1.SyncDocument, p *ingestv1.PackageEvidence) error {
	if s.GetFindingsKey() == "" || len(p.GetRows()) == 0 {
		return nil
	}
	all, err := finding.Load(ctx, q.Blobs, s.GetFindingsKey(), 0, int(s.GetFindingsKept()))
	if err != nil {
		return err
	}
	for _, f := range all {
		for _, row := range p.GetRows() {
			if f.GetRow() == row.GetRow() && f.GetRow() > 0 && f.GetFile() == row.GetFile() && f.GetLevel() != finding.LevelNotice {
				row.Findings = append(row.Findings, f)
			}
		}
	}
	return nil
}

// rejected says why rows that were delivered have made no record.
func (q *question) rejected(a *asked, s *ingestv1.SyncDocument, p *ingestv1.PackageEvidence) {
	if len(p.GetRows()) == 0 {
		return
	}
	sync := s.GetSync()
	r := &ingestv1.ExplainReason{
		Type: rejected, Source: a.GetSource(), Sync: sync.GetSyncId(), UploadId: sync.GetUploadId(), Time: sync.GetCreateTime(),
		File: p.GetRows()[0].GetFile(), Row: p.GetRows()[0].GetRow(), NextStep: "correct the row in the source, or have the export corrected, and sync again",
	}
	why := "it is not told why, because there were too many findings of the kind to keep"
	for _, row := range p.GetRows() {
		for _, f := range row.GetFindings() {
			if f.GetLevel() == finding.LevelRow && r.GetCode() == "" {
				r.File, r.Row, r.Column, r.Code, why = row.GetFile(), row.GetRow(), f.GetColumn(), f.GetCode(), f.GetMessage()
			}
		}
	}
	if r.GetCode() == "" && sync.GetCounts()[q.name].GetRejected() == 0 {
		return // the row is no record of its own: one of roles, for example
	}
	r.Message = fmt.Sprintf("%s, row %d, of the package that source %s delivered %s was not read: %s",
		r.GetFile(), r.GetRow(), a.GetSource(), q.on(cmp.Or(p.GetCreateTime(), sync.GetCreateTime()).AsTime()), why)
	q.reason(r)
}
