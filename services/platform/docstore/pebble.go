package docstore

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// pebbleStore keeps two kinds of keys, each beginning with its kind and the
// collection:
//
//	d collection id          version (8 bytes), length of index, index, value
//	i collection index id    nothing
//
// Collection and index are escaped so that keys sort like the texts in them.
// Both keys of a document change in one batch.
type pebbleStore struct {
	db *pebble.DB

	// open is held for reading by every call and for writing by Close.
	open   sync.RWMutex
	closed bool

	// writes is held for reading by each who writes and for writing by
	// Checkpoint, until its caller lets go.
	writes sync.RWMutex

	// A version is compared and replaced under the stripe of its key. Other
	// stripes go on, and Pebble joins their syncs into one.
	stripes [64]sync.Mutex
	seed    maphash.Seed
}

// OpenPebble opens or creates the store in dir, which no one else may use
// meanwhile. Each write is on disk when it returns.
func OpenPebble(dir string) (Store, error) { return openPebble(dir, vfs.Default) }

func openPebble(dir string, fs vfs.FS) (*pebbleStore, error) {
	cache := pebble.NewCache(8 << 20) // State is small; the default of each store would add up.
	defer cache.Unref()
	db, err := pebble.Open(dir, &pebble.Options{
		FS:                 fs,
		Cache:              cache,
		MemTableSize:       4 << 20,
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             quiet{},
	})
	if err != nil {
		return nil, fmt.Errorf("open documents in %s: %w", dir, err)
	}
	return &pebbleStore{db: db, seed: maphash.MakeSeed()}, nil
}

func (s *pebbleStore) Close() error {
	s.open.Lock()
	defer s.open.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.closed = true
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close documents: %w", err)
	}
	return nil
}

// enter keeps Close away until leave; Pebble panics when used after it.
func (s *pebbleStore) enter(ctx context.Context) (leave func(), err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s.open.RLock()
	if s.closed {
		s.open.RUnlock()
		return nil, ErrClosed
	}
	return s.open.RUnlock, nil
}

func (s *pebbleStore) Get(ctx context.Context, collection, id string) (Row, error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return Row{}, err
	}
	defer leave()
	return s.read(collection, id)
}

func (s *pebbleStore) read(collection, id string) (Row, error) {
	data, done, err := s.db.Get(docKey(collection, id))
	if errors.Is(err, pebble.ErrNotFound) {
		return Row{}, ErrNotFound
	}
	if err != nil {
		return Row{}, err
	}
	row, err := decodeRow(id, data)
	return row, errors.Join(err, done.Close())
}

func (s *pebbleStore) Put(ctx context.Context, collection string, row Row) (int64, error) {
	if row.ID == "" || collection == "" {
		return 0, fmt.Errorf("put: collection and id must not be empty")
	}
	leave, err := s.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	s.writes.RLock()
	defer s.writes.RUnlock()
	key := docKey(collection, row.ID)
	defer s.lock(key)()

	old, err := s.read(collection, row.ID)
	switch {
	case errors.Is(err, ErrNotFound) && row.Version == 0:
		// The clock makes the versions of a new document different from those of
		// a deleted one, so that a holder of the old one gets a conflict.
		row.Version = time.Now().UnixNano()
		err = nil
	case err != nil:
		return 0, err
	case row.Version == 0:
		return 0, ErrExists
	case row.Version != old.Version:
		return 0, ErrConflict
	default:
		row.Version++
	}

	b := s.db.NewBatch()
	if old.Version != 0 && old.Index != row.Index {
		err = b.Delete(indexKey(collection, old.Index, row.ID), nil)
	}
	err = errors.Join(err,
		b.Set(key, encodeRow(row), nil),
		b.Set(indexKey(collection, row.Index, row.ID), nil, nil),
		b.Commit(pebble.Sync),
		b.Close())
	return row.Version, err
}

func (s *pebbleStore) Delete(ctx context.Context, collection, id string, version int64) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	s.writes.RLock()
	defer s.writes.RUnlock()
	key := docKey(collection, id)
	defer s.lock(key)()

	old, err := s.read(collection, id)
	if err != nil {
		return err
	}
	if version != 0 && version != old.Version {
		return ErrConflict
	}
	b := s.db.NewBatch()
	return errors.Join(
		b.Delete(key, nil),
		b.Delete(indexKey(collection, old.Index, id), nil),
		b.Commit(pebble.Sync),
		b.Close())
}

func (s *pebbleStore) List(ctx context.Context, collection string, q Query) (rows []Row, next string, err error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return nil, "", err
	}
	defer leave()
	if q.Limit <= 0 {
		q.Limit = DefaultLimit
	}

	base := appendText([]byte{'i'}, collection)
	bounds := pebble.IterOptions{LowerBound: appendEscaped(bytes.Clone(base), q.Prefix)}
	bounds.UpperBound = successor(bounds.LowerBound)
	if q.After != "" {
		last, err := base64.RawURLEncoding.DecodeString(q.After)
		if err != nil {
			return nil, "", ErrBadCursor
		}
		last = append(bytes.Clone(base), last...)
		if bytes.Compare(last, bounds.LowerBound) < 0 || bytes.Compare(last, bounds.UpperBound) >= 0 {
			return nil, "", ErrBadCursor
		}
		if q.Descending {
			bounds.UpperBound = last
		} else {
			bounds.LowerBound = append(last, 0)
		}
	}

	// A snapshot, so that each key of the index has its document.
	snapshot := s.db.NewSnapshot()
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	it, err := snapshot.NewIterWithContext(ctx, &bounds)
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, it.Close()) }()

	first, step := it.First, it.Next
	if q.Descending {
		first, step = it.Last, it.Prev
	}
	var last []byte
	for ok := first(); ok; ok = step() {
		if len(rows) == q.Limit {
			return rows, base64.RawURLEncoding.EncodeToString(last), nil
		}
		last = append(last[:0], it.Key()[len(base):]...)
		id, err := idOf(last)
		if err != nil {
			return nil, "", err
		}
		data, done, err := snapshot.Get(docKey(collection, id))
		if err != nil {
			return nil, "", fmt.Errorf("read %q, which the index names: %w", id, err)
		}
		row, err := decodeRow(id, data)
		if err := errors.Join(err, done.Close()); err != nil {
			return nil, "", err
		}
		rows = append(rows, row)
	}
	return rows, "", it.Error()
}

// Checkpoint copies a store that OpenPebble has opened to dir, which must not be
// there yet, and keeps writers waiting until release is called: so the caller
// can copy what belongs to the documents as it is at that moment. It takes no
// longer for a large store.
func Checkpoint(s Store, dir string) (release func(), err error) {
	p, ok := s.(*pebbleStore)
	if !ok {
		return nil, fmt.Errorf("copy documents: they are not in a folder: use the tools of their database")
	}
	leave, err := p.enter(context.Background())
	if err != nil {
		return nil, err
	}
	defer leave()
	p.writes.Lock()
	if err := p.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		p.writes.Unlock()
		return nil, fmt.Errorf("copy documents: %w", err)
	}
	return sync.OnceFunc(p.writes.Unlock), nil
}

func (s *pebbleStore) lock(key []byte) (unlock func()) {
	m := &s.stripes[maphash.Bytes(s.seed, key)%uint64(len(s.stripes))]
	m.Lock()
	return m.Unlock
}

func docKey(collection, id string) []byte {
	return append(appendText([]byte{'d'}, collection), id...)
}

func indexKey(collection, index, id string) []byte {
	return append(appendText(appendText([]byte{'i'}, collection), index), id...)
}

// appendText appends s and an end mark. Keys made of texts sort like tuples of
// these texts.
func appendText(b []byte, s string) []byte { return append(appendEscaped(b, s), 0, 1) }

// appendEscaped makes room for the end mark 0 1: a zero byte becomes 0 255.
func appendEscaped(b []byte, s string) []byte {
	for i := range len(s) {
		if b = append(b, s[i]); s[i] == 0 {
			b = append(b, 0xff)
		}
	}
	return b
}

// idOf returns what follows the end mark of the index value.
func idOf(key []byte) (string, error) {
	_, id, ok := bytes.Cut(key, []byte{0, 1})
	if !ok {
		return "", fmt.Errorf("damaged index key %x", key)
	}
	return string(id), nil
}

// successor returns the first key after all keys that begin with prefix; the
// kind byte is never 255, so there is one.
func successor(prefix []byte) []byte {
	next := bytes.Clone(prefix)
	for i := len(next) - 1; ; i-- {
		if next[i]++; next[i] != 0 {
			return next[:i+1]
		}
	}
}

func encodeRow(r Row) []byte {
	b := make([]byte, 0, 8+binary.MaxVarintLen64+len(r.Index)+len(r.Value))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Version))
	b = binary.AppendUvarint(b, uint64(len(r.Index)))
	b = append(b, r.Index...)
	return append(b, r.Value...)
}

func decodeRow(id string, b []byte) (Row, error) {
	damaged := fmt.Errorf("document %q is damaged", id)
	if len(b) < 9 {
		return Row{}, damaged
	}
	r := Row{ID: id, Version: int64(binary.BigEndian.Uint64(b))}
	size, n := binary.Uvarint(b[8:])
	if n <= 0 || size > uint64(len(b)-8-n) {
		return Row{}, damaged
	}
	b = b[8+n:]
	r.Index = string(b[:size])
	r.Value = bytes.Clone(b[size:])
	return r, nil
}

// quiet drops Pebble's progress notes; its errors come back from the calls.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	// Pebble calls it when it can no longer promise durability; going on would
	// acknowledge writes that are lost.
	panic(fmt.Sprintf("documents: "+format, args...))
}
