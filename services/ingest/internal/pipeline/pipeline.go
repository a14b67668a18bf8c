// Package pipeline turns a package into layer files: rows are split, made into
// records, encoded, sorted and written, with a bounded number of workers and a
// bounded amount of memory, however large the district is.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync/atomic"

	"gocloud.dev/blob"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/connector/onerostercsv"
	"github.com/securly/sync/services/ingest/internal/csvtext"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/ingest/internal/normalise"
	"github.com/securly/sync/services/platform/record"
)

// sortMemory is how much one worker sorts at a time.
const sortMemory = 16 << 20

// smallFile is the size up to which one worker is enough.
const smallFile = 4 << 20

// Input of Run.
type Input struct {
	Plan *onerostercsv.Plan
	// Bucket gets the layer files, under keys that begin with Prefix.
	Bucket *blob.Bucket
	Prefix string
	// Previous layer files by entity name.
	Previous map[string]*ingestv1.LayerFile
	// Rebuild names entities whose previous layer files are damaged: they are
	// made of the package alone if that has all there is to know of them.
	Rebuild []string
	// TempDir is for sorting; it is left as it was.
	TempDir string
	// Rows is told how many rows were read.
	Rows func(n int)
	// Unknown, if it is set, is told of values that should be mapped to others, as
	// normalise.Reader is. Several workers call it.
	Unknown func(f *onerostercsv.File, column, shown, value string)
}

// Counts of one entity.
type Counts struct{ Received, Rejected int }

// Output of Run.
type Output struct {
	// Layer files by entity name: new ones where the package has rows, the
	// previous ones otherwise.
	Layer  map[string]*ingestv1.LayerFile
	Counts map[string]Counts
}

// entityFiles are the files that make an entity; the first holds its records.
func entityFiles(e typev1.Entity) []normalise.Kind {
	switch e {
	case typev1.Entity_ENTITY_ORGS:
		return []normalise.Kind{normalise.Orgs}
	case typev1.Entity_ENTITY_ACADEMIC_SESSIONS:
		return []normalise.Kind{normalise.AcademicSessions}
	case typev1.Entity_ENTITY_COURSES:
		return []normalise.Kind{normalise.Courses}
	case typev1.Entity_ENTITY_CLASSES:
		return []normalise.Kind{normalise.Classes}
	case typev1.Entity_ENTITY_USERS:
		return []normalise.Kind{normalise.Users, normalise.Roles, normalise.UserProfiles}
	case typev1.Entity_ENTITY_ENROLLMENTS:
		return []normalise.Kind{normalise.Enrollments}
	default:
		return []normalise.Kind{normalise.Demographics}
	}
}

// EntityOf returns the entity whose records a file makes.
func EntityOf(k normalise.Kind) typev1.Entity {
	for _, e := range record.Entities() {
		if slices.Contains(entityFiles(e), k) {
			return e
		}
	}
	return typev1.Entity_ENTITY_UNSPECIFIED
}

// Run reads the files of a plan. Its error is onerostercsv.Faults when a file
// cannot be read to its end, and layer.Damage when a previous layer file cannot.
func Run(ctx context.Context, in Input) (_ *Output, err error) {
	dir, err := os.MkdirTemp(in.TempDir, "sort-*")
	if err != nil {
		return nil, fmt.Errorf("make a folder to sort in: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	out := &Output{Layer: map[string]*ingestv1.LayerFile{}, Counts: map[string]Counts{}}
	var builds []*build
	for _, e := range record.Entities() {
		b := &build{in: in, entity: e, dir: dir}
		for _, k := range entityFiles(e) {
			for _, f := range in.Plan.Files {
				if f.Kind == k {
					b.files = append(b.files, f)
					b.size += f.Size
				}
			}
		}
		name := record.EntityName(e)
		if len(b.files) == 0 {
			if prev := in.Previous[name]; prev != nil {
				out.Layer[name] = prev
			}
			continue
		}
		builds = append(builds, b)
	}
	// The largest first, so that none is left over at the end.
	slices.SortStableFunc(builds, func(a, b *build) int { return int(b.size>>10 - a.size>>10) })
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for _, b := range builds {
		g.Go(func() error { return b.run(ctx) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, b := range builds {
		name := record.EntityName(b.entity)
		out.Layer[name] = b.out
		counts := Counts{Received: int(b.received.Load() - b.repeated.Load())}
		for _, f := range b.files {
			if f.Kind != entityFiles(b.entity)[0] {
				continue
			}
			counts.Rejected += f.Report.Rejected()
			if f.Text != f.Report {
				counts.Rejected += f.Text.Rejected()
			}
		}
		out.Counts[name] = counts
	}
	return out, nil
}

// build makes the layer file of one entity.
type build struct {
	in       Input
	entity   typev1.Entity
	dir      string
	files    []*onerostercsv.File
	size     int64
	sorter   *layer.Sorter
	known    *layer.Known
	received atomic.Int64
	repeated atomic.Int64               // rows that said again what another one says
	before   map[*onerostercsv.File]int // rows of the files before of the same kind
	bare     atomic.Bool
	out      *ingestv1.LayerFile
}

// fileOf returns the file of a kind that has a row, and its number there.
func (b *build) fileOf(k normalise.Kind, row int) (*onerostercsv.File, int) {
	var of *onerostercsv.File
	for _, f := range b.files {
		if f.Kind == k && (of == nil || row > b.before[f]) {
			of = f
		}
	}
	return of, row - b.before[of]
}

// mapped tells that rows of the entity may say the same again.
func (b *build) mapped() bool { return b.files[0].Table.Mapped() }

func (b *build) run(ctx context.Context) (err error) {
	b.sorter = layer.NewSorter(b.dir, sortMemory)
	defer func() { err = errors.Join(err, b.sorter.Close()) }()
	plan := b.layerBuild()
	b.recognise(ctx, &plan)
	b.before = map[*onerostercsv.File]int{}
	rows := map[normalise.Kind]int{}
	for _, f := range b.files {
		b.before[f] = rows[f.Kind]
		n, err := b.read(ctx, f, plan.Join)
		if err != nil {
			return err
		}
		rows[f.Kind] += n
	}
	return b.write(ctx, plan)
}

// layerBuild says how rows become the layer, as far as it is known before
// they are read.
func (b *build) layerBuild() layer.Build {
	records := entityFiles(b.entity)[0]
	p := layer.Build{Rows: b.sorter, Mode: b.in.Plan.Mode(records), Rejected: b.rejected}
	if b.mapped() {
		p.Repeated = func() { b.repeated.Add(1) }
	}
	if b.entity == typev1.Entity_ENTITY_USERS {
		p.Roles, p.Profiles = b.in.Plan.Mode(normalise.Roles), b.in.Plan.Mode(normalise.UserProfiles)
		p.OwnRoles = slices.ContainsFunc(b.files, func(f *onerostercsv.File) bool { return f.Table.FlatRoles })
		p.Join = !p.OwnRoles || p.Roles != layer.Absent || p.Profiles != layer.Absent
	}
	return p
}

// recognise prepares to pass over rows that the previous layer file was made
// of. That needs complete copies, and records that follow from their row and
// their roles alone.
func (b *build) recognise(ctx context.Context, plan *layer.Build) {
	prev := b.in.Previous[record.EntityName(b.entity)]
	if prev == nil || b.rebuild() || plan.Mode != layer.Bulk || plan.Join && (plan.OwnRoles || b.mapped()) {
		return
	}
	b.known = layer.LoadKnown(ctx, b.in.Bucket, prev.GetKey(), prev.GetRecords())
	plan.Known = b.known
}

func (b *build) rebuild() bool { return slices.Contains(b.in.Rebuild, record.EntityName(b.entity)) }

// needsPrevious tells whether records are made of more than the package's rows.
// What a rebuild cannot know is what went before: what a record was that the
// package deletes, and the profiles of users if it has none.
func (b *build) needsPrevious(plan layer.Build) bool {
	switch {
	case plan.Mode != layer.Bulk:
		return true
	case b.rebuild():
		return plan.Join && (plan.Roles == layer.Delta || plan.Roles == layer.Absent && !plan.OwnRoles || plan.Profiles == layer.Delta)
	}
	return b.known != nil || b.bare.Load() || plan.Join && (plan.Roles != layer.Bulk || plan.Profiles != layer.Bulk)
}

func (b *build) rejected(it layer.Item) {
	kind, code, message := entityFiles(b.entity)[0], "id-duplicate", "another row has the same id; the first of them was read"
	if it.Part != layer.PartRecord {
		kind, code, message = normalise.Roles, "user-unknown", "the row names a user that is not there, so it could not be kept"
		if it.Part == layer.PartProfile {
			kind = normalise.UserProfiles
		}
	}
	column := "sourcedId"
	if it.Part != layer.PartRecord {
		column = "userSourcedId"
	}
	f, row := b.fileOf(kind, it.Row)
	f.Report.Reject(code, row, f.Table.Column(column), string(it.ID), message)
}

// read has the rows of a file normalised by several workers. It returns how many
// there are, blank ones and the header included.
func (b *build) read(ctx context.Context, f *onerostercsv.File, join bool) (rows int, err error) {
	text, comma, closer, err := f.Read()
	if err != nil {
		return 0, err
	}
	defer func() { _ = closer.Close() }()
	workers := runtime.GOMAXPROCS(0)
	if f.Size < smallFile {
		workers = 1
	}
	full := make(chan *csvtext.Batch, workers)
	free := make(chan *csvtext.Batch, 2*workers+1)
	for range cap(free) {
		free <- &csvtext.Batch{}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(full)
		for {
			var batch *csvtext.Batch
			select {
			case batch = <-free:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			if err := text.ReadBatch(batch); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return f.Unreadable(err)
			}
			if n := batch.Len(); n > 0 {
				last, _ := batch.Row(n - 1)
				rows = last.Number
			}
			select {
			case full <- batch:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	})
	for range workers {
		g.Go(func() error {
			w := newWorker(b, f, comma, join)
			for batch := range full {
				if err := w.batch(batch); err != nil {
					return err
				}
				free <- batch // never blocks: it has room for all batches
			}
			w.rows.Close()
			return nil
		})
	}
	err = g.Wait()
	return rows, err
}

// worker makes items of rows.
type worker struct {
	b      *build
	f      *onerostercsv.File
	parser *csvtext.Parser
	reader *normalise.Reader
	rows   *layer.Buffer
	marker layer.Marker
	marks  []layer.Mark // of the rows of a batch; nil if they get none
	before int          // rows before those of the file
	known  *layer.Known // rows that need not be read
	found  []uint32     // which of the batch are known
	part   layer.Part
	odd    bool // the last row gave rise to a finding before it was read
	hash   bool
	count  bool
	body   []byte
	id     []byte
}

func newWorker(b *build, f *onerostercsv.File, comma byte, join bool) *worker {
	w := &worker{
		b: b, f: f, parser: csvtext.NewParser(comma), reader: f.Table.NewReader(f.Report, f.Text), rows: b.sorter.Buffer(),
		before: b.before[f], hash: !join, count: f.Kind == entityFiles(b.entity)[0],
	}
	if w.count {
		w.known = b.known
		if f.Mode == layer.Bulk {
			w.marks = []layer.Mark{}
		}
		w.marker = layer.NewMarker(fmt.Sprintf("%d %q %t", comma, f.Table.Identity(), join))
	}
	if unknown := b.in.Unknown; unknown != nil {
		w.reader.Unknown = func(column, shown, value string) { unknown(f, column, shown, value) }
	}
	switch f.Kind {
	case normalise.Roles:
		w.part = layer.PartRole
	case normalise.UserProfiles:
		w.part = layer.PartProfile
	}
	return w
}

func (w *worker) batch(batch *csvtext.Batch) error {
	received := 0
	w.recognise(batch)
	for i := range batch.Len() {
		row, text := batch.Row(i)
		if w.known != nil && w.found[i] != 0 {
			w.seen(w.found[i], row, text)
			received++
			continue
		}
		var mark layer.Mark
		if w.marks != nil {
			mark = w.marks[i]
		}
		fields, ok := w.fields(row, text)
		if ok && w.f.Table.Passes(fields) {
			continue
		}
		received++
		if !ok {
			continue
		}
		n, ok := w.reader.Read(row.Number, fields)
		if !ok {
			continue
		}
		if n.Bare || w.odd || w.reader.Odd() {
			mark = layer.Mark{} // its finding has to be told each time
		}
		if err := w.add(row.Number, n, mark); err != nil {
			return err
		}
	}
	if w.count {
		w.b.received.Add(int64(received))
	}
	w.b.in.Rows(received)
	return nil
}

// recognise marks the rows of a batch and finds those that are known from the
// previous layer file.
func (w *worker) recognise(batch *csvtext.Batch) {
	if w.marks == nil {
		return
	}
	w.marks = w.marks[:0]
	for i := range batch.Len() {
		var mark layer.Mark
		if row, text := batch.Row(i); row.Fault == csvtext.FaultNone {
			mark = w.marker.Mark(text)
		}
		w.marks = append(w.marks, mark)
	}
	if w.known != nil {
		w.found = slices.Grow(w.found[:0], len(w.marks))[:len(w.marks)]
		w.known.Find(w.marks, w.found)
	}
}

// seen takes a row that is known; of two that are the same the later one is
// rejected.
func (w *worker) seen(at uint32, row csvtext.Row, text []byte) {
	other := w.known.See(at, w.before+row.Number)
	switch {
	case other == 0:
		return
	case w.b.mapped():
		w.b.repeated.Add(1)
		return
	}
	if fields, ok := w.fields(row, text); ok {
		if n, ok := w.reader.Read(other, fields); ok {
			w.b.rejected(layer.Item{ID: []byte(n.ID), Row: other})
		}
	}
}

// fields splits a row. False means that it was rejected.
func (w *worker) fields(row csvtext.Row, text []byte) ([]string, bool) {
	w.odd = false
	switch row.Fault {
	case csvtext.FaultTooLong:
		w.f.Text.Reject("row-too-long", row.Number, "", "", fmt.Sprintf("the row is longer than %d bytes", csvtext.MaxRow))
		return nil, false
	case csvtext.FaultQuote:
		w.f.Text.Reject("row-quotes", row.Number, "", "", "a quote in the row is never closed: close it, or double it if it belongs to the value")
		return nil, false
	}
	recoded := w.parser.Recoded
	fields, lazy, err := w.parser.Fields(row, text)
	if err != nil {
		w.f.Text.Reject("row-unreadable", row.Number, "", "", "the row is not text in UTF-8 or Windows-1252")
		return nil, false
	}
	w.odd = lazy || row.Lines() || w.parser.Recoded > recoded
	if lazy {
		w.f.Text.Value("quotes-stray", row.Number, "", "", "quotes in the row break the rules and were taken as they stand: double a quote that belongs to a value")
	}
	if row.Lines() {
		w.f.Text.Value("value-lines", row.Number, "", "", "a value runs over several lines; they were joined by spaces")
	}
	if w.parser.Recoded > recoded {
		w.f.Text.Notice("encoding-windows-1252", row.Number, "", "the row is not UTF-8 and was read as Windows-1252: save the file as CSV UTF-8")
	}
	return fields, true
}

func (w *worker) add(number int, n normalise.Row, mark layer.Mark) error {
	var err error
	w.body, err = proto.MarshalOptions{Deterministic: true}.MarshalAppend(w.body[:0], n.Message)
	if err != nil {
		return fmt.Errorf("encode %s row %d: %w", w.f.Name, number, err)
	}
	w.id = append(w.id[:0], n.ID...)
	it := layer.Item{ID: w.id, Part: w.part, Deleted: n.Deleted, Bare: n.Bare && w.part == layer.PartRecord, Row: w.before + number, Mark: mark, Body: w.body}
	if it.Bare {
		w.b.bare.Store(true)
	}
	if w.hash {
		it.Hash = record.HashOf(n.Message.(*typev1.Record))
	}
	return w.rows.Add(it)
}

// write merges the sorted rows with what was there before.
func (b *build) write(ctx context.Context, plan layer.Build) error {
	name := record.EntityName(b.entity)
	prev := b.in.Previous[name]
	if b.known != nil && !plan.Join && b.sorter.Empty() && b.known.All() {
		// Nothing but the order of the rows has changed. The file may not be read
		// for long, so this is where damage is found.
		sound, err := layer.Sound(ctx, b.in.Bucket, prev.GetKey(), prev.GetChecksum())
		if err == nil && !sound && prev.GetChecksum() != 0 {
			err = &layer.Damage{Entity: name, Err: layer.ErrDamaged}
		}
		b.out = prev
		return err
	}
	if prev != nil && b.needsPrevious(plan) {
		plan.Previous = layer.Open(ctx, b.in.Bucket, prev.GetKey(), prev.GetRecords())
	}
	key := b.in.Prefix + name
	w, err := layer.Create(ctx, b.in.Bucket, key, plan.Previous != nil)
	if err != nil {
		return err
	}
	if err := plan.Write(w); err != nil {
		w.Abort()
		if errors.Is(err, layer.ErrDamaged) {
			return &layer.Damage{Entity: name, Err: err}
		}
		return fmt.Errorf("build the layer of %s: %w", name, err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("build the layer of %s: %w", name, err)
	}
	b.out = &ingestv1.LayerFile{Key: key, Records: w.Records(), Checksum: w.Checksum(), Mapping: b.in.Plan.Mapping}
	if plan.Previous != nil {
		b.out.Since, b.out.Changes = prev.GetKey(), w.Changes()
	}
	return nil
}

// Findings gathers the findings of a plan, and how many there were.
func Findings(p *onerostercsv.Plan) (kept []*ingestv1.SyncFinding, total int) {
	for _, r := range p.Findings {
		k, n := r.Result()
		kept = append(kept, k...)
		total += n
	}
	return kept, total
}
