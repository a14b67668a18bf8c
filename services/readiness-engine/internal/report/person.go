package report

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"gocloud.dev/blob"
	"google.golang.org/protobuf/proto"

	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/readiness-engine/internal/replica"
)

// ErasePerson blanks a user in the findings of all reports and returns how many
// blobs named it. The counts of reports stay, and so do ids. The roster must
// have forgotten the person before. It may be repeated, also after a crash.
func (r *Reports) ErasePerson(ctx context.Context, cache *replica.Cache, district, user string) (blobs int, err error) {
	if err := r.begin(ctx, district); err != nil {
		return 0, err
	}
	// This waits for a report of this engine that is being made.
	if err := cache.Forget(ctx, district); err != nil {
		return 0, err
	}
	named, err := r.named(ctx, district)
	if err != nil {
		return 0, err
	}
	next := map[string]*readinessv1.StoredFindings{}
	for key, err := range r.findings.keys(ctx, district+"/") {
		if err != nil {
			return 0, err
		}
		stored := named[key]
		if stored == nil { // left by an interruption, or of a report that is made again
			if err := r.findings.delete(ctx, key); err != nil {
				return 0, err
			}
			continue
		}
		blanked, err := r.findings.without(ctx, district, stored, user)
		if errors.Is(err, errDamaged) {
			// Nobody can tell whom they name. Whoever asks for them is told that
			// they are not there.
			err = r.findings.delete(ctx, key)
		}
		if err != nil {
			return 0, err
		}
		if blanked != nil {
			next[key] = blanked
		}
	}
	if len(next) == 0 {
		return 0, nil
	}
	for doc, err := range r.reports.All(ctx, district+"/") {
		if err == nil {
			_, err = r.reports.Modify(ctx, doc.ID, func(s *readinessv1.StoredReport) error {
				for _, f := range s.GetFindings() {
					if n := next[f.GetBlob()]; n != nil {
						f.Blob, f.Frames = n.GetBlob(), n.GetFrames()
					}
				}
				return nil
			})
			err = docstore.IgnoreNotFound(err)
		}
		if err != nil {
			return 0, fmt.Errorf("erase a person from the reports of %s: %w", district, err)
		}
	}
	for key := range next {
		if err := r.findings.delete(ctx, key); err != nil {
			return 0, err
		}
	}
	return len(next), nil
}

// without stores findings anew without a user; nil if they do not have it.
func (f findings) without(ctx context.Context, district string, stored *readinessv1.StoredFindings, user string) (*readinessv1.StoredFindings, error) {
	has := false
	for found, err := range f.read(ctx, stored, 0) {
		if err != nil {
			return nil, err
		}
		if has = blank(found, user); has {
			break
		}
	}
	if !has {
		return nil, nil
	}
	return f.store(ctx, district, "erasure", stored.GetCheckId(), func(yield func([]byte, error) bool) {
		for found, err := range f.read(ctx, stored, 0) {
			var encoded []byte
			if err == nil {
				found.CheckId = ""
				blank(found, user)
				encoded, err = proto.Marshal(found)
			}
			if !yield(encoded, err) || err != nil {
				return
			}
		}
	})
}

// blank takes what a finding says about a user out of it, and tells whether
// there was anything.
func blank(f *readinessv1.ReadinessFinding, user string) bool {
	own := f.GetSourcedId() == user && f.GetEntity() == "users" || f.GetUserSourcedId() == user
	related := f.GetRelatedSourcedId() == user && f.GetEntity() == "users"
	has := own && (f.GetDisplayName() != "" || f.GetEmail() != "" || len(f.GetGrades()) > 0) ||
		related && (f.GetRelatedName() != "" || len(f.GetGrades()) > 0)
	if own {
		f.DisplayName, f.Email = "", ""
	}
	if related {
		f.RelatedName = ""
	}
	if own || related {
		f.Grades = nil // of either
	}
	return has
}

// keys yields the blobs under a prefix.
func (f findings) keys(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for it := f.bucket.List(&blob.ListOptions{Prefix: prefix}); ; {
			object, err := it.Next(ctx)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield("", fmt.Errorf("list findings %s: %w", prefix, err))
				return
			}
			if !yield(object.Key, nil) {
				return
			}
		}
	}
}
