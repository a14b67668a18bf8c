package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"gocloud.dev/gcerrors"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/connector"
	"github.com/securly/sync/services/ingest/internal/connector/catalogue"
	"github.com/securly/sync/services/ingest/internal/connector/onerostercsv"
	"github.com/securly/sync/services/ingest/internal/mapping"
	"github.com/securly/sync/services/ingest/internal/normalise"
	"github.com/securly/sync/services/ingest/internal/pipeline"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/ingest/internal/upload"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/record"
)

// testTime bounds a connection test: callers wait two minutes for an answer.
const testTime = 100 * time.Second

// maxTrials bounds the tests of one process: each may need twice the largest
// package on the disk.
const maxTrials = 3

// trials are the sources that are being tested.
type trials struct {
	mu      sync.Mutex
	running map[string]bool
}

// begin keeps a source from being tested twice at the same time, and many from
// being tested at once.
func (t *trials) begin(source string) (end func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.running[source]:
		return nil, errs.New(codes.ResourceExhausted, "TEST_BUSY", "the source is being tested already: try again when that test has ended")
	case len(t.running) >= maxTrials:
		return nil, errs.Errorf(codes.ResourceExhausted, "TEST_BUSY", "the hub is busy testing %d other sources: try again in two minutes", maxTrials)
	case t.running == nil:
		t.running = map[string]bool{}
	}
	t.running[source] = true
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.running, source)
	}, nil
}

// TestSource tries a source out. What is wrong with the source is in the answer;
// an error means that there was no test.
func (s *sources) TestSource(ctx context.Context, req *ingestv1.TestSourceRequest) (*ingestv1.TestSourceResponse, error) {
	doc, err := s.source(ctx, req.GetDistrict(), req.GetSource())
	if err != nil {
		return nil, err
	}
	through, err := describe(doc.Value)
	if err != nil {
		return nil, err
	}
	if catalogue.Manual(doc.Value.GetSource().GetConnector()) {
		return &ingestv1.TestSourceResponse{Ok: true}, nil // there is nothing to reach
	}
	var out *ingestv1.TestSourceResponse
	mapped, err := onerostercsv.MappingOf(doc.Value.GetSource())
	if err == nil {
		err = s.try(ctx, doc.Value, req.GetUploadId(), trialOf{mapped, onerostercsv.Reads(mapped)}, func(ctx context.Context, p *trialPackage) error {
			if out, err = s.examine(ctx, doc.Value, through, p.contents); err != nil {
				return err
			}
			for _, note := range p.notes {
				out.Messages = append(out.Messages, &ingestv1.TestMessage{Level: onerostercsv.LevelWarning, Code: "package-incomplete", Message: note})
			}
			return nil
		})
	}
	var known *errs.Error
	if !errors.As(err, &known) || !answer(known) {
		return out, err
	}
	out = &ingestv1.TestSourceResponse{Messages: []*ingestv1.TestMessage{{
		Level: onerostercsv.LevelError, Code: known.Reason, File: known.Detail("file"), Message: err.Error(),
	}}}
	if setting := known.Detail("setting"); setting != "" {
		out.Confirm, err = structpb.NewStruct(map[string]any{setting: known.Detail("value")})
		return out, err
	}
	return out, nil
}

// trialOf says how the files of a package that is tried are mapped, and which of
// them are fetched.
type trialOf struct {
	mapped *mapping.Mapping
	known  func(name string) bool
}

// trialPackage is a package of which nothing is kept.
type trialPackage struct {
	contents *onerostercsv.Contents
	// notes are what a person should know about it.
	notes []string
}

// try gets a package of a source and has something done with it: the one that
// is there now if the source fetches packages and no upload is named.
func (s *sources) try(ctx context.Context, d *ingestv1.SourceDocument, uploadID string, of trialOf, do func(context.Context, *trialPackage) error) (err error) {
	end, err := s.trials.begin(state.Key(d.GetDistrict(), d.GetSource().GetSourceId()))
	if err != nil {
		return err
	}
	defer end()
	dir, err := os.MkdirTemp(s.TempDir, "test-*")
	if err != nil {
		return fmt.Errorf("make a folder for the test: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ctx, cancel := context.WithTimeoutCause(ctx, testTime,
		errs.Errorf(codes.FailedPrecondition, "TEST_TOO_SLOW", "the package could not be fetched and read within %v: a sync has more time; the test works with a smaller package", testTime))
	defer cancel()

	if puller, ok := catalogue.Puller(d.GetSource().GetConnector()); ok && uploadID == "" {
		err = s.tryPull(ctx, d, puller, dir, of, do)
	} else {
		err = s.tryUpload(ctx, d, uploadID, dir, of, do)
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	var wait *connector.NotReady
	if errors.As(err, &wait) {
		err = errs.Errorf(codes.FailedPrecondition, "PACKAGE_INCOMPLETE", "%s: test again when they are complete", wait.Reason)
	}
	return err
}

// answer tells whether an error is what a test has found out.
func answer(err *errs.Error) bool {
	switch err.Code {
	case codes.InvalidArgument, codes.FailedPrecondition:
		return true
	}
	return errors.Is(err, connector.ErrUnreachable)
}

func (s *sources) tryPull(ctx context.Context, d *ingestv1.SourceDocument, puller connector.Puller, dir string, of trialOf, do func(context.Context, *trialPackage) error) (err error) {
	secrets, err := s.Secrets.Open(ctx, state.Key(d.GetDistrict(), d.GetSource().GetSourceId()), d.GetSecrets())
	if err != nil {
		return err
	}
	pulled, err := puller.Pull(ctx, connector.Request{
		Settings: connector.Settings{Struct: d.GetSource().GetSettings()}, Secrets: secrets, Dir: dir, Trial: true, Known: of.known,
		Inbox:    s.inbox(d.GetDistrict(), d.GetSource().GetSourceId()),
		MaxBytes: s.MaxUpload, Progress: func(int64, int64) {}, Now: s.Now,
	})
	if err != nil {
		return err
	}
	p, err := upload.Pack(s.TempDir, s.MaxUpload, of.mapped, pulled.Files)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	return do(ctx, &trialPackage{contents: p.Contents, notes: pulled.Notes})
}

func (s *sources) tryUpload(ctx context.Context, d *ingestv1.SourceDocument, id, dir string, of trialOf, do func(context.Context, *trialPackage) error) (err error) {
	kept, err := s.Store.Upload(ctx, d.GetDistrict(), d.GetSource().GetSourceId(), id)
	if err != nil {
		return err
	}
	in, err := s.Blobs.NewReader(ctx, kept.GetKey(), nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return errs.New(codes.FailedPrecondition, "UPLOAD_GONE", "the uploaded package is no longer kept: upload it again")
	}
	if err != nil {
		return fmt.Errorf("open upload: %w", err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	f, err := os.CreateTemp(dir, "package-*")
	if err != nil {
		return fmt.Errorf("copy upload: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := io.Copy(f, in)
	if err != nil {
		return fmt.Errorf("copy upload: %w", err)
	}
	contents, err := onerostercsv.Inspect(f, size, onerostercsv.AcceptedLimits(), of.mapped)
	if err != nil {
		return err
	}
	return do(ctx, &trialPackage{contents: contents})
}

func (s *sources) examine(ctx context.Context, d *ingestv1.SourceDocument, through *connector.Description, contents *onerostercsv.Contents) (*ingestv1.TestSourceResponse, error) {
	if d.GetSource().GetGuardians() != nil {
		return s.examineGuardians(ctx, d, contents)
	}
	known, err := s.delivered(ctx, d)
	if err != nil {
		return nil, err
	}
	return contents.Examine(ctx, through, onerostercsv.SettingOf(d.GetSource().GetSettings()), d.GetSource().GetSourceId(), known)
}

// delivered returns what tells which kinds a source has delivered before.
func (s *sources) delivered(ctx context.Context, d *ingestv1.SourceDocument) (func(normalise.Kind) bool, error) {
	layer, err := s.Store.Layer(ctx, d.GetDistrict(), d.GetSource().GetSourceId())
	return func(k normalise.Kind) bool {
		return layer.GetFiles()[record.EntityName(pipeline.EntityOf(k))] != nil
	}, err
}
