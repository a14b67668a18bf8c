// Package doctor compares what the ingest service keeps: documents with the
// files that they name, files with the documents that should name them, syncs
// with the revisions that they made.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"gocloud.dev/blob"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/connector"
	"github.com/securly/sync/services/ingest/internal/dropbox"
	"github.com/securly/sync/services/ingest/internal/layer"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/ingest/internal/syncrun"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/docstore"
)

// fresh is how old a file must be before it counts as one that nothing names:
// the document may be about to be written.
const fresh = time.Minute

// Deps of a check.
type Deps struct {
	Store  *state.Store
	Blobs  *blob.Bucket
	Roster rosterv1.RosterServiceClient
	Now    func() time.Time
}

// Check looks through all districts, and makes right what is safe to if asked
// to: a missing file's document no longer names it, a sync that nobody goes on
// with is gone on with, files that nothing names are removed.
func Check(ctx context.Context, d Deps, repair bool) iter.Seq2[*typev1.CheckResponse, error] {
	return func(yield func(*typev1.CheckResponse, error) bool) {
		c := &check{Deps: d, repair: repair, tell: func(p *typev1.Problem) bool {
			return yield(&typev1.CheckResponse{Event: &typev1.CheckResponse_Problem{Problem: p}}, nil)
		}}
		err := c.all(ctx)
		if errors.Is(err, errEnough) {
			return
		}
		if err != nil {
			yield(nil, err)
			return
		}
		for _, n := range []*typev1.Checked{
			{What: "districts", Count: c.districts}, {What: "syncs", Count: c.syncs}, {What: "packages, layers and findings of syncs", Count: c.files},
		} {
			if !yield(&typev1.CheckResponse{Event: &typev1.CheckResponse_Checked{Checked: n}}, nil) {
				return
			}
		}
	}
}

// errEnough means that nobody wants to hear more.
var errEnough = errors.New("enough")

type check struct {
	Deps
	repair                  bool
	tell                    func(*typev1.Problem) bool
	districts, syncs, files int64

	// Of the district that is being checked.
	district string
	needed   map[string]bool // files that a document names
	growing  []string        // beginnings of the names of files of open syncs
}

// problem tells of one, after repair has made it right, if there is such a way.
func (c *check) problem(where, what string, repair func() error) error {
	repaired := repair != nil && c.repair
	if repaired {
		if err := repair(); err != nil {
			return err
		}
	}
	if !c.tell(&typev1.Problem{District: c.district, What: what, Where: where, Repaired: repaired}) {
		return errEnough
	}
	return nil
}

func (c *check) all(ctx context.Context) error {
	// Files first: what they belong to is read after them.
	files := map[string][]string{}
	for _, prefix := range []string{"uploads/", dropbox.Prefix, "layers/", "findings/"} {
		objects, done := c.Blobs.List(&blob.ListOptions{Prefix: prefix}).All(ctx)
		for o := range objects {
			c.files++
			if c.Now().Sub(o.ModTime) < fresh {
				continue
			}
			district, _, _ := strings.Cut(strings.TrimPrefix(o.Key, prefix), "/")
			files[district] = append(files[district], o.Key)
		}
		if err := done(); err != nil {
			return fmt.Errorf("list files: %w", err)
		}
	}
	there := map[string]bool{}
	for doc, err := range c.Store.Districts.All(ctx, "") {
		if err != nil {
			return err
		}
		if doc.Value.GetDeleting() {
			delete(files, doc.ID) // they go by themselves
			continue
		}
		there[doc.ID] = true
		files[doc.ID] = slices.Clip(files[doc.ID]) // one without files is checked too
	}
	for _, district := range slices.Sorted(maps.Keys(files)) {
		c.district, c.needed, c.growing = district, map[string]bool{}, nil
		if there[district] {
			c.districts++
			if err := c.checkDistrict(ctx); err != nil {
				return fmt.Errorf("check district %s: %w", district, err)
			}
		}
		if err := c.checkFiles(ctx, files[district]); err != nil {
			return fmt.Errorf("check files of %s: %w", district, err)
		}
	}
	return nil
}

func (c *check) checkDistrict(ctx context.Context) error {
	made, head, err := c.revisions(ctx)
	if errors.Is(err, authn.ErrDistrictNotFound) {
		if _, gone := c.Store.District(ctx, c.district); errors.Is(gone, err) {
			return nil // it was deleted meanwhile
		}
		err = c.problem("district "+c.district, "a district without a roster", nil)
	}
	if err != nil {
		return err
	}
	open := map[string]bool{}
	for doc, err := range c.Store.Open.All(ctx, state.Within(c.district)) {
		if err != nil {
			return err
		}
		o := doc.Value
		open[o.GetSync()] = true
		c.growing = append(c.growing, syncrun.LayerPrefix(c.district, o.GetSource())+o.GetSync()+"/", syncrun.FindingsKey(c.district, o.GetSync()))
	}
	for doc, err := range c.Store.Syncs.All(ctx, state.Within(c.district)) {
		if err == nil {
			c.syncs++
			err = c.sync(ctx, doc, open[doc.Value.GetSync().GetSyncId()], made, head)
		}
		if err != nil {
			return err
		}
	}
	for doc, err := range c.Store.Uploads.All(ctx, state.Within(c.district)) {
		if err == nil {
			err = c.upload(ctx, doc)
		}
		if err != nil {
			return err
		}
	}
	for doc, err := range c.Store.Drops.All(ctx, state.Within(c.district)) {
		if err == nil {
			err = c.drop(ctx, doc)
		}
		if err != nil {
			return err
		}
	}
	for doc, err := range c.Store.Layers.All(ctx, state.Within(c.district)) {
		if err == nil {
			err = c.layer(ctx, doc.Value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// revisions returns which sync has made which revision, as far as they are
// kept, and the newest one.
func (c *check) revisions(ctx context.Context) (made map[int32]string, head int32, err error) {
	made = map[int32]string{}
	for token := ""; ; {
		page, err := c.Roster.ListRevisions(ctx, &rosterv1.ListRevisionsRequest{District: c.district, PageSize: 1000, PageToken: token})
		if err != nil {
			return nil, 0, err
		}
		for _, r := range page.GetRevisions() {
			made[r.GetRevision()] = r.GetSync()
			head = max(head, r.GetRevision())
		}
		if token = page.GetNextPageToken(); token == "" {
			return made, head, nil
		}
	}
}

func (c *check) sync(ctx context.Context, doc docstore.Doc[*ingestv1.SyncDocument], open bool, made map[int32]string, head int32) error {
	s := doc.Value.GetSync()
	where := "sync " + s.GetSyncId()
	if open {
		c.needed[doc.Value.GetUploadKey()] = true
		c.need(state.Made(doc.Value), true)
	} else if !state.Final(s.GetState()) {
		if _, err := c.Store.Open.Get(ctx, doc.ID); !errors.Is(err, docstore.ErrNotFound) {
			return err // it has begun since
		}
		if now, err := c.Store.Syncs.Get(ctx, doc.ID); err != nil || state.Final(now.Value.GetSync().GetState()) {
			return docstore.IgnoreNotFound(err)
		}
		c.need(state.Made(doc.Value), true)
		err := c.problem(where, "a sync that nobody goes on with", func() error {
			_, err := c.Store.Open.Create(ctx, doc.ID, &ingestv1.OpenSyncDocument{
				District: c.district, Source: s.GetSource(), Sync: s.GetSyncId(), CreateTime: timestamppb.New(c.Now()),
			})
			return err
		})
		if err != nil {
			return err
		}
	}
	if rev := s.GetRevision(); rev > 0 {
		by, kept := made[rev]
		switch {
		case made == nil: // the roster is gone, which was told
		case rev > head:
			// The roster was read before: it may be ahead by now.
			if _, head, err := c.revisions(ctx); err != nil || rev <= head {
				return err
			}
			if err := c.problem(where, fmt.Sprintf("a sync that made revision %d, but the newest revision is %d", rev, head), nil); err != nil {
				return err
			}
		case kept && by != s.GetSyncId():
			if err := c.problem(where, fmt.Sprintf("a sync that made revision %d, which was made by %q", rev, by), nil); err != nil {
				return err
			}
		}
	}
	key := doc.Value.GetFindingsKey()
	if key == "" {
		return nil
	}
	c.needed[key] = true
	there, err := c.Blobs.Exists(ctx, key)
	if err != nil || there {
		return err
	}
	if _, err := c.Store.Syncs.Get(ctx, doc.ID); err != nil {
		return docstore.IgnoreNotFound(err)
	}
	return c.problem(where, "its findings are missing", func() error {
		_, err := c.Store.Syncs.Modify(ctx, doc.ID, func(d *ingestv1.SyncDocument) error {
			d.FindingsKey, d.FindingsKept = "", 0
			return nil
		})
		return err
	})
}

func (c *check) upload(ctx context.Context, doc docstore.Doc[*ingestv1.UploadDocument]) error {
	c.needed[doc.Value.GetKey()] = true
	there, err := c.Blobs.Exists(ctx, doc.Value.GetKey())
	if err != nil || there {
		return err
	}
	if _, err := c.Store.Uploads.Get(ctx, doc.ID); err != nil {
		return docstore.IgnoreNotFound(err)
	}
	return c.problem("upload "+doc.Value.GetUploadId(), "a kept package is missing", func() error {
		return docstore.IgnoreNotFound(c.Store.Uploads.Delete(ctx, doc.ID))
	})
}

func (c *check) drop(ctx context.Context, doc docstore.Doc[*ingestv1.DropDocument]) error {
	for _, f := range dropbox.Files(doc.Value) {
		if f.Key == "" {
			continue // it is being written
		}
		c.needed[f.Key] = true
		there, err := c.Blobs.Exists(ctx, f.Key)
		if err != nil {
			return err
		}
		if there {
			continue
		}
		named := func(d *ingestv1.DropDocument) bool {
			return slices.ContainsFunc(d.GetFiles(), func(other *ingestv1.DroppedFile) bool { return other.GetKey() == f.Key })
		}
		if now, err := c.Store.Drops.Get(ctx, doc.ID); err != nil || !named(now.Value) {
			if err := docstore.IgnoreNotFound(err); err != nil {
				return err
			}
			continue // it was taken meanwhile
		}
		err = c.problem("source "+doc.Value.GetSource(), "a file that was dropped is missing", func() error {
			box := dropbox.Box{Store: c.Store, Blobs: c.Blobs, District: c.district, ID: doc.Value.GetSource()}
			return box.Take(ctx, []connector.Dropped{f})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *check) layer(ctx context.Context, d *ingestv1.LayerDocument) error {
	files := state.Current(d)
	c.need(files, false)
	for name, f := range files.All() {
		sound, err := c.sound(ctx, f)
		if err != nil {
			return err
		}
		if sound {
			continue
		}
		now, err := c.Store.Layer(ctx, c.district, d.GetSource())
		if err != nil {
			return err
		}
		if !state.Current(now).Has(f) {
			return nil // it was replaced meanwhile
		}
		err = c.problem("source "+d.GetSource()+", "+name, "what is stored of the source is missing or damaged: upload a complete package to it, and sync it", nil)
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *check) sound(ctx context.Context, f *ingestv1.LayerFile) (bool, error) {
	if f.GetChecksum() == 0 {
		return c.Blobs.Exists(ctx, f.GetKey())
	}
	return layer.Sound(ctx, c.Blobs, f.GetKey(), f.GetChecksum())
}

func (c *check) need(files state.Files, open bool) {
	for _, f := range files.All() {
		c.needed[f.GetKey()], c.needed[layer.MarksKey(f.GetKey())] = true, true
		if open {
			c.needed[layer.ChangesKey(f.GetKey())] = true
		}
	}
}

// checkFiles finds files that nothing names.
func (c *check) checkFiles(ctx context.Context, keys []string) error {
	for _, key := range keys {
		if c.needed[key] || slices.ContainsFunc(c.growing, func(p string) bool { return strings.HasPrefix(key, p) }) {
			continue
		}
		there, err := c.Blobs.Exists(ctx, key)
		if err != nil {
			return err
		}
		if !there {
			continue // tidied up meanwhile
		}
		err = c.problem("file "+key, "a file that nothing names", func() error { return syncrun.DeleteBlob(ctx, c.Blobs, key) })
		if err != nil {
			return err
		}
	}
	return nil
}
