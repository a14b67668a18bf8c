package docstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/proto"
)

// Collection is a set of documents of one type.
type Collection[T proto.Message] struct {
	store Store
	name  string
	index func(T) string
}

// Doc is a document with its id and version. Versions only grow; they say
// nothing else.
type Doc[T proto.Message] struct {
	ID      string
	Version int64
	Value   T
}

// NewCollection returns the collection of s with this name. index gives the
// value by which List orders and selects; nil means the empty value for all,
// so that the order is the order of the ids.
func NewCollection[T proto.Message](s Store, name string, index func(T) string) *Collection[T] {
	if index == nil {
		index = func(T) string { return "" }
	}
	return &Collection[T]{store: s, name: name, index: index}
}

// Get returns the document, or ErrNotFound.
func (c *Collection[T]) Get(ctx context.Context, id string) (Doc[T], error) {
	row, err := c.store.Get(ctx, c.name, id)
	if err != nil {
		return Doc[T]{}, c.failed("get", id, err)
	}
	return c.decode(row)
}

// Create inserts a document, or fails with ErrExists. It is atomic: one of any
// number of racing calls wins.
func (c *Collection[T]) Create(ctx context.Context, id string, value T) (Doc[T], error) {
	return c.put(ctx, "create", Doc[T]{ID: id, Value: value})
}

// Update replaces a document that was read before. ErrConflict means that it
// has changed since, ErrNotFound that it is gone.
func (c *Collection[T]) Update(ctx context.Context, doc Doc[T]) (Doc[T], error) {
	if doc.Version == 0 {
		return Doc[T]{}, fmt.Errorf("update %s %q: the document was never read", c.name, doc.ID)
	}
	return c.put(ctx, "update", doc)
}

// Modify reads a document, lets change alter it in place and writes it back;
// on a conflict it starts again, until ctx ends. change may run several times
// and must have no other effect. An error of change is returned and nothing is
// written; when change alters nothing, nothing is written either.
func (c *Collection[T]) Modify(ctx context.Context, id string, change func(T) error) (Doc[T], error) {
	for attempt := 0; ; attempt++ {
		doc, err := c.Get(ctx, id)
		if err != nil {
			return Doc[T]{}, err
		}
		before := proto.Clone(doc.Value)
		if err := change(doc.Value); err != nil {
			return Doc[T]{}, err
		}
		if proto.Equal(before, doc.Value) {
			return doc, nil
		}
		doc, err = c.Update(ctx, doc)
		if !errors.Is(err, ErrConflict) {
			return doc, err
		}
		// Random pauses spread out writers that would collide again.
		pause := time.NewTimer(rand.N(time.Millisecond << min(attempt, 6))) //nolint:gosec // Not for secrets.
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return Doc[T]{}, c.failed("modify", id, context.Cause(ctx))
		}
	}
}

// Delete removes a document, or fails with ErrNotFound.
func (c *Collection[T]) Delete(ctx context.Context, id string) error {
	return c.failed("delete", id, c.store.Delete(ctx, c.name, id, 0))
}

// DeleteVersion removes a document that was read before, unless it has changed
// since (ErrConflict). It is how a lease is given back.
func (c *Collection[T]) DeleteVersion(ctx context.Context, doc Doc[T]) error {
	return c.failed("delete", doc.ID, c.store.Delete(ctx, c.name, doc.ID, doc.Version))
}

// List returns a page ordered by (index, id) and the cursor of the next page,
// which is empty after the last one.
func (c *Collection[T]) List(ctx context.Context, q Query) (docs []Doc[T], next string, err error) {
	rows, next, err := c.store.List(ctx, c.name, q)
	if err != nil {
		return nil, "", fmt.Errorf("list %s: %w", c.name, err)
	}
	docs = make([]Doc[T], len(rows))
	for i, row := range rows {
		if docs[i], err = c.decode(row); err != nil {
			return nil, "", err
		}
	}
	return docs, next, nil
}

// All yields every document whose index value begins with prefix, page by page.
func (c *Collection[T]) All(ctx context.Context, prefix string) iter.Seq2[Doc[T], error] {
	return func(yield func(Doc[T], error) bool) {
		for q := (Query{Prefix: prefix, Limit: 500}); ; {
			docs, next, err := c.List(ctx, q)
			if err != nil {
				yield(Doc[T]{}, err)
				return
			}
			for _, d := range docs {
				if !yield(d, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			q.After = next
		}
	}
}

func (c *Collection[T]) put(ctx context.Context, action string, doc Doc[T]) (Doc[T], error) {
	value, err := proto.Marshal(doc.Value)
	if err != nil {
		return Doc[T]{}, c.failed(action, doc.ID, err)
	}
	version, err := c.store.Put(ctx, c.name, Row{ID: doc.ID, Index: c.index(doc.Value), Version: doc.Version, Value: value})
	if err != nil {
		return Doc[T]{}, c.failed(action, doc.ID, err)
	}
	doc.Version = version
	return doc, nil
}

func (c *Collection[T]) decode(row Row) (Doc[T], error) {
	var zero T
	value := zero.ProtoReflect().New().Interface().(T)
	if err := proto.Unmarshal(row.Value, value); err != nil {
		return Doc[T]{}, c.failed("decode", row.ID, err)
	}
	return Doc[T]{ID: row.ID, Version: row.Version, Value: value}, nil
}

func (c *Collection[T]) failed(action, id string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s %q: %w", action, c.name, id, err)
}
