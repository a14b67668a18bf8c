package syncrun

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gocloud.dev/gcerrors"
	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/csvtext"
	"github.com/securly/sync/services/ingest/internal/guardian"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/ingest/internal/normalise"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/record"
)

// personal are the entities whose records are of a person and have its id.
var personal = []string{record.EntityName(typev1.Entity_ENTITY_USERS), record.EntityName(typev1.Entity_ENTITY_DEMOGRAPHICS)}

// blankLayers blanks a person in every layer file of a source that anything
// names, and removes those that nothing names. The caller holds the source.
func (r *Runner) blankLayers(ctx context.Context, district, source, user string) error {
	next := map[string]*ingestv1.LayerFile{} // by the key before
	pick := layer.Pick{ID: func(id []byte) bool { return string(id) == user }, Record: func(*typev1.Record) bool { return true }}
	blank := func(files state.Files) error {
		for name, f := range files.All() {
			if !slices.Contains(personal, name) || next[f.GetKey()] != nil {
				continue
			}
			records, err := layer.Unblanked(ctx, r.deps.Blobs, f.GetKey(), f.GetRecords(), pick)
			if errors.Is(err, layer.ErrDamaged) {
				// The sync that needs it says so, and says what to do.
				if err := DeleteBlob(ctx, r.deps.Blobs, f.GetKey()); err != nil {
					return err
				}
				continue
			}
			if err != nil {
				return err
			}
			if len(records) == 0 {
				continue
			}
			if err := r.remember(ctx, district, user, source, rulesOf(f), records...); err != nil {
				return err
			}
			if next[f.GetKey()], err = r.blank(ctx, f, pick); err != nil {
				return err
			}
		}
		return nil
	}
	replace := func(files state.Files) error {
		for _, of := range files.Maps() {
			for name, f := range of {
				if n := next[f.GetKey()]; n != nil {
					of[name] = n
				}
			}
		}
		return nil
	}
	open, err := r.open(ctx, district, source)
	if err != nil {
		return err
	}
	for _, o := range open {
		doc, err := r.deps.Store.Sync(ctx, district, o.GetSync())
		if errors.Is(err, state.ErrSyncNotFound) {
			continue
		}
		if err == nil {
			err = os.RemoveAll(r.pullDir(doc.Value)) // it is pulled from its beginning
		}
		if err == nil {
			err = blank(state.Made(doc.Value))
		}
		if err == nil {
			_, err = r.deps.Store.Syncs.Modify(ctx, doc.ID, func(d *ingestv1.SyncDocument) error { return replace(state.Made(d)) })
		}
		if err != nil {
			return err
		}
	}
	current, err := r.deps.Store.Layer(ctx, district, source)
	if err == nil {
		err = blank(state.Current(current))
	}
	if err == nil && len(next) > 0 {
		_, err = r.deps.Store.Layers.Modify(ctx, state.Key(district, source), func(d *ingestv1.LayerDocument) error { return replace(state.Current(d)) })
		if errors.Is(err, docstore.ErrNotFound) {
			err = nil // nothing was committed yet
		}
	}
	if err == nil {
		err = r.tidyLayers(ctx, district, source, "")
	}
	if err != nil || len(next) == 0 {
		return err
	}
	_, err = r.done(ctx, state.Key(district, user), func(d *ingestv1.ErasePersonResponse) { d.LayerFiles += int32(len(next)) }, false)
	return err
}

// blank copies a layer file without the values of the picked records. Its
// differences from the one before it are not kept.
func (r *Runner) blank(ctx context.Context, f *ingestv1.LayerFile, pick layer.Pick) (*ingestv1.LayerFile, error) {
	to := f.GetKey() + "." + state.NewID()
	sum, err := layer.Blank(ctx, r.deps.Blobs, f.GetKey(), to, f.GetRecords(), pick)
	return &ingestv1.LayerFile{Key: to, Records: f.GetRecords(), Checksum: sum, Mapping: f.GetMapping()}, err
}

// rulesOf are those by which a row becomes the hash that recognises it.
func rulesOf(f *ingestv1.LayerFile) string {
	return strings.TrimSuffix(fmt.Sprintf("%d.%d.%s", normalise.Version, record.HashVersion, f.GetMapping()), ".")
}

// remember takes down what is going to be blanked: a source that delivers just
// that again does not bring the person back.
func (r *Runner) remember(ctx context.Context, district, user, source, rules string, records ...*typev1.Record) error {
	_, err := r.deps.Store.Erasures.Modify(ctx, state.Key(district, user), func(d *ingestv1.ErasureDocument) error {
		for _, rec := range records {
			e, _ := record.Of(rec)
			hash := record.PersonHash(rec)
			now := &ingestv1.ErasedRecord{Source: source, Entity: record.EntityName(e), Hash: hash[:], Rules: rules}
			d.Records = append(slices.DeleteFunc(d.Records, func(was *ingestv1.ErasedRecord) bool {
				return proto.Equal(was, now) || outdated(was, source, rules) && was.GetEntity() == now.GetEntity()
			}), now)
		}
		return nil
	})
	return err
}

func outdated(e *ingestv1.ErasedRecord, source, rules string) bool {
	return e.GetSource() == source && e.GetRules() != rules
}

// erased is how a source's records of an erased person are recognised.
type erased struct {
	known map[record.Hash]bool
	// outdated are entities whose hashes are of other rules. Nobody can tell
	// whether they say something else now, so they are blanked once more.
	outdated map[string]bool
}

func (e *erased) add(was *ingestv1.ErasedRecord, source, rules string) {
	if outdated(was, source, rules) {
		e.outdated[was.GetEntity()] = true
	}
	if was.GetRules() == rules {
		e.known[record.Hash(was.GetHash())] = true
	}
}

// has tells whether a record is just what was erased, or was made of that.
func (e *erased) has(rec *typev1.Record) bool {
	entity, _ := record.Of(rec)
	hash := record.PersonHash(rec)
	return e.known[hash] || e.outdated[record.EntityName(entity)] || hash == record.PersonHash(record.Blank(rec))
}

// keepErased blanks what a sync has read of erased persons, as far as it is
// just what was erased. The source lease is held.
func (r *Runner) keepErased(ctx context.Context, s *ingestv1.SyncDocument, files map[string]*ingestv1.LayerFile) error {
	district, source := s.GetDistrict(), s.GetSync().GetSource()
	own, rules := LayerPrefix(district, source)+s.GetSync().GetSyncId()+"/", ""
	for _, f := range files {
		if strings.HasPrefix(f.GetKey(), own) {
			rules = rulesOf(f) // it is the same for all of a sync
		}
	}
	persons := map[string]*erased{}
	for _, part := range []string{state.ErasurePending, state.ErasureDone} {
		for doc, err := range r.deps.Store.Erasures.All(ctx, state.Within(part, district)) {
			if err != nil {
				return err
			}
			p := &erased{known: map[record.Hash]bool{}, outdated: map[string]bool{}}
			for _, was := range doc.Value.GetRecords() {
				p.add(was, source, rules)
			}
			persons[doc.Value.GetUser()] = p
		}
	}
	if len(persons) == 0 {
		return nil
	}
	of := func(rec *typev1.Record) (id string, p *erased) {
		_, base := record.Of(rec)
		return base.GetSourcedId(), persons[base.GetSourcedId()]
	}
	pick := layer.Pick{
		ID: func(id []byte) bool { return persons[string(id)] != nil },
		Record: func(rec *typev1.Record) bool {
			_, p := of(rec)
			return p.has(rec)
		},
	}
	for _, name := range personal {
		f := files[name]
		if f == nil || !strings.HasPrefix(f.GetKey(), own) {
			continue // it is a file of before
		}
		records, err := layer.Unblanked(ctx, r.deps.Blobs, f.GetKey(), f.GetRecords(), pick)
		if err != nil {
			return err
		}
		if len(records) == 0 {
			continue
		}
		for _, rec := range records {
			id, p := of(rec)
			if !p.outdated[name] {
				continue
			}
			if err := r.remember(ctx, district, id, source, rules, rec); err != nil {
				return err
			}
		}
		next, err := r.blank(ctx, f, pick)
		if err != nil {
			return err
		}
		files[name] = next
		if err := deleteLayerFile(ctx, r.deps.Blobs, f.GetKey()); err != nil {
			return err
		}
	}
	return nil
}

// dropPackages drops the kept packages of a source that have a person, or that
// cannot be read. Ids may be in no cell of files that are mapped, or that name
// students by another key and guardians by none, so that all of these may have it.
func (r *Runner) dropPackages(ctx context.Context, district, source, user string) error {
	from, err := r.deps.Store.Source(ctx, district, source)
	if err != nil && !errors.Is(err, state.ErrSourceNotFound) {
		return err
	}
	mapped := from.Value.GetSource().GetMapping() != nil || !guardian.Names(from.Value.GetSource().GetGuardians(), user)
	dropped := int32(0)
	for doc, err := range r.deps.Store.Uploads.All(ctx, state.Within(district, source)) {
		if err != nil {
			return err
		}
		key := doc.Value.GetKey()
		has := mapped
		if !has {
			has, err = r.packageHas(ctx, key, user)
		}
		if err != nil {
			return err
		}
		if !has {
			continue
		}
		if err := DeleteBlob(ctx, r.deps.Blobs, key); err != nil {
			return err
		}
		if err := r.deps.Store.Uploads.Delete(ctx, doc.ID); err != nil && !errors.Is(err, docstore.ErrNotFound) {
			return err
		}
		dropped++
	}
	if dropped == 0 {
		return nil
	}
	_, err = r.done(ctx, state.Key(district, user), func(d *ingestv1.ErasePersonResponse) { d.Packages += dropped }, false)
	return err
}

// packageHas tells whether any cell of any file of a package is an id, or lists it.
func (r *Runner) packageHas(ctx context.Context, key, id string) (_ bool, err error) {
	in, err := r.deps.Blobs.NewReader(ctx, key, nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return true, nil // what is left is the document
	}
	if err != nil {
		return false, fmt.Errorf("open upload: %w", err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	dir, err := os.MkdirTemp(r.cfg.TempDir, "erase-*")
	if err != nil {
		return false, fmt.Errorf("make a folder for a package: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	f, err := os.Create(filepath.Join(dir, "package"))
	if err != nil {
		return false, fmt.Errorf("copy a package: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := io.Copy(f, in)
	if err != nil {
		return false, fmt.Errorf("copy a package: %w", err)
	}
	z, err := zip.NewReader(f, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return true, nil // it can be of no use
	}
	for _, entry := range z.File {
		if has, err := fileHas(entry, id); has || err != nil {
			return true, nil // what cannot be read may have it
		}
	}
	return false, context.Cause(ctx)
}

func fileHas(f *zip.File, id string) (_ bool, err error) {
	in, err := f.Open()
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	text, _, err := csvtext.Decode(in)
	if err != nil {
		return false, err
	}
	rows := csvtext.NewReader(text)
	header, comma, err := rows.Header()
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	rows.Expect(len(header))
	parser := csvtext.NewParser(comma)
	var batch csvtext.Batch
	for {
		err := rows.ReadBatch(&batch)
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		for i := range batch.Len() {
			row, line := batch.Row(i)
			fields, _, err := parser.Fields(row, line)
			if row.Fault != csvtext.FaultNone || err != nil {
				return true, err // nobody can tell whose row it is
			}
			if slices.ContainsFunc(fields, func(cell string) bool { return names(cell, id) }) {
				return true, nil
			}
		}
	}
}

// names tells whether a cell is an id or a list that has it.
func names(cell, id string) bool {
	id = strings.TrimSpace(id)
	if strings.TrimSpace(cell) == id {
		return true
	}
	for item := range strings.FieldsFuncSeq(cell, func(r rune) bool { return r == ',' || r == ';' }) {
		if strings.TrimSpace(item) == id {
			return true
		}
	}
	return false
}
