package api

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/connector/onerostercsv"
	"github.com/securly/sync/services/ingest/internal/guardian"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/ingest/internal/schedule"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
)

type guardians struct {
	ingestv1.UnimplementedGuardianServiceServer
	*sources
}

// checkGuardians refuses settings of a guardian file that cannot be used.
func checkGuardians(field string, s *ingestv1.Source) error {
	if s.GetGuardians() == nil {
		return nil
	}
	if s.GetMapping() != nil || s.GetSharing() != nil {
		return invalid(field, "a source of a guardian file has neither a mapping nor sharing settings: leave them out")
	}
	if name, err := guardian.CheckSettings(s.GetGuardians()); err != nil {
		return invalid(field+"."+name, "%w", err)
	}
	return nil
}

// setGuardians sets how the guardian file of a source is read.
func (s *sources) setGuardians(ctx context.Context, d *ingestv1.SourceDocument, next *ingestv1.GuardianFile) error {
	if (d.GetSource().GetGuardians() == nil) != (next == nil) {
		layer, err := s.Store.Layer(ctx, d.GetDistrict(), d.GetSource().GetSourceId())
		if err != nil {
			return err
		}
		if layer.GetSync() != "" {
			return invalid("guardians", "can be neither set nor removed once the source has records: create another source")
		}
	}
	d.Source.Guardians = next
	return nil
}

// PreviewGuardians reads the newest package that is kept of a source, or that it
// has to fetch, or the one that is named, and matches it.
func (g *guardians) PreviewGuardians(ctx context.Context, req *ingestv1.PreviewGuardiansRequest) (out *ingestv1.PreviewGuardiansResponse, err error) {
	doc, err := g.source(ctx, req.GetDistrict(), req.GetSource())
	if err != nil {
		return nil, err
	}
	if doc.Value.GetSource().GetGuardians() == nil {
		return nil, errs.Errorf(codes.FailedPrecondition, "SOURCE_NOT_GUARDIANS", "source %s is not one of a guardian file: create one whose guardians are set", req.GetSource()).With("source", req.GetSource())
	}
	if req.GetGuardians() != nil {
		if name, err := guardian.CheckSettings(req.GetGuardians()); err != nil {
			return nil, invalid("guardians."+name, "%w", err)
		}
		doc.Value.Source.Guardians = req.GetGuardians()
	}
	id := req.GetUploadId()
	if id == "" {
		kept, err := g.Store.Upload(ctx, req.GetDistrict(), req.GetSource(), "")
		var none *errs.Error
		if err != nil && !errors.As(err, &none) {
			return nil, err
		}
		id = kept.GetUploadId()
	}
	mapped, err := onerostercsv.MappingOf(doc.Value.GetSource())
	if err != nil {
		return nil, err
	}
	err = g.try(ctx, doc.Value, id, trialOf{mapped, onerostercsv.Reads(mapped)}, func(ctx context.Context, p *trialPackage) error {
		out, err = g.previewGuardians(ctx, doc.Value, p.contents)
		return err
	})
	if err != nil {
		return nil, err
	}
	out.UploadId = id
	return out, nil
}

func (s *sources) previewGuardians(ctx context.Context, d *ingestv1.SourceDocument, contents *onerostercsv.Contents) (*ingestv1.PreviewGuardiansResponse, error) {
	source := d.GetSource()
	file, faults := guardian.Find(contents)
	if len(faults) > 0 {
		return &ingestv1.PreviewGuardiansResponse{Messages: guardian.Messages(faults)}, nil
	}
	base, err := s.GuardianBase(ctx, d.GetDistrict(), source.GetSourceId(), source.GetGuardians())
	if err != nil {
		return nil, err
	}
	out, err := guardian.Preview(ctx, guardian.Input{
		File: file, Settings: source.GetGuardians(), District: d.GetDistrict(), Source: source.GetSourceId(), Users: base.Users, TempDir: s.TempDir,
	}, base.Last.GetGuardians())
	if faults = guardian.Unreadable(file, err); len(faults) > 0 {
		return &ingestv1.PreviewGuardiansResponse{File: file.Name, Messages: guardian.Messages(faults)}, nil
	}
	if errors.Is(err, layer.ErrDamaged) {
		err = errs.New(codes.Aborted, "ROSTER_CHANGED", "another source was synced while the guardian file was matched: try again").Because(err)
	}
	return out, err
}

// examineGuardians is the test of a source with a guardian file.
func (s *sources) examineGuardians(ctx context.Context, d *ingestv1.SourceDocument, contents *onerostercsv.Contents) (*ingestv1.TestSourceResponse, error) {
	p, err := s.previewGuardians(ctx, d, contents)
	if err != nil {
		return nil, err
	}
	out := &ingestv1.TestSourceResponse{Ok: true, Messages: p.GetMessages(), Counts: map[string]int32{}}
	if r := p.GetReport(); r != nil {
		out.Counts["relationships"], out.Counts["guardians"], out.Counts["students"] = r.GetRelationships(), r.GetGuardians(), r.GetStudents()
	}
	for _, m := range p.GetMessages() {
		need := &ingestv1.DataRequirement{File: m.GetFile(), Column: m.GetColumn(), Reason: m.GetMessage()}
		switch {
		case m.GetLevel() == onerostercsv.LevelError:
			out.Ok, out.Required = false, append(out.Required, need)
		case m.GetCode() == "recommended-missing":
			out.Recommended = append(out.Recommended, need)
		}
	}
	for _, r := range p.GetHoldReasons() {
		out.Messages = append(out.Messages, &ingestv1.TestMessage{Level: onerostercsv.LevelWarning, Code: r.GetType(), File: p.GetFile(), Message: r.GetMessage()})
	}
	return out, nil
}

// MatchAgain starts a sync for each guardian file that was matched with other
// users, or by other settings, than those of now. It takes the package that is on
// hold, or else the one that the roster is from. For each state of the users and
// each package that is done once, by one of the replicas.
func MatchAgain(ctx context.Context, d Deps) {
	for doc, err := range d.Store.Sources.All(ctx, "") {
		if err == nil && doc.Value.GetSource().GetGuardians() == nil {
			continue
		}
		if err == nil {
			err = d.matchAgain(ctx, doc)
		}
		if err != nil && ctx.Err() == nil {
			d.Log.WarnContext(ctx, "match a guardian file again", "source", doc.ID, "error", err)
		}
	}
}

func (d *Deps) matchAgain(ctx context.Context, doc docstore.Doc[*ingestv1.SourceDocument]) error {
	district, source := doc.Value.GetDistrict(), doc.Value.GetSource()
	if source.GetStopped() != nil || schedule.Paused(source, d.Now()) != nil {
		return nil
	}
	last, err := d.lastMatched(ctx, district, source.GetSourceId())
	if err != nil || last == nil {
		return err
	}
	base, err := d.GuardianBase(ctx, district, source.GetSourceId(), source.GetGuardians())
	if err != nil || base.Mark == last.GetGuardiansBase() {
		return err
	}
	upload, err := d.Store.Upload(ctx, district, source.GetSourceId(), last.GetSync().GetUploadId())
	if errors.Is(err, state.ErrUploadNotFound) {
		return nil // the next delivery is matched
	}
	if err != nil {
		return err
	}
	if mark := state.Key(base.Mark, upload.GetUploadId()); doc.Value.GetRematch() != mark {
		doc.Value.Rematch, doc.Value.RematchSync = mark, state.NewID()
		if doc, err = d.Store.Sources.Update(ctx, doc); err != nil {
			if errors.Is(err, docstore.ErrConflict) || isNotFound(err) {
				return nil // it has changed, or another replica does it
			}
			return err
		}
	}
	if _, err := d.Store.Sync(ctx, district, doc.Value.GetRematchSync()); !errors.Is(err, state.ErrSyncNotFound) {
		return err
	}
	_, err = d.start(ctx, doc.Value, upload.GetKey(), &ingestv1.Sync{
		SyncId: doc.Value.GetRematchSync(), UploadId: upload.GetUploadId(), Reason: "the roster or the settings have changed: matched again",
	})
	return err
}

// lastMatched returns the sync of a source whose package is to be matched again
// when the users change; nil if there is none, or the next is under way.
func (d *Deps) lastMatched(ctx context.Context, district, source string) (*ingestv1.SyncDocument, error) {
	id := ""
	for open, err := range d.Store.Open.All(ctx, state.Within(district)) {
		if err != nil {
			return nil, err
		}
		if open.Value.GetSource() == source {
			id = open.Value.GetSync()
		}
	}
	waits := id != ""
	if !waits {
		layer, err := d.Store.Layer(ctx, district, source)
		if err != nil || layer.GetSync() == "" {
			return nil, err
		}
		id = layer.GetSync()
	}
	sync, err := d.Store.Sync(ctx, district, id)
	switch {
	case errors.Is(err, state.ErrSyncNotFound):
		return nil, nil //nolint:nilnil // nothing is known of it
	case err != nil:
		return nil, err
	case waits && sync.Value.GetSync().GetState() != ingestv1.SyncState_ON_HOLD, sync.Value.GetSync().GetUploadId() == "":
		return nil, nil //nolint:nilnil // there is nothing to match, or not yet
	}
	return sync.Value, nil
}
