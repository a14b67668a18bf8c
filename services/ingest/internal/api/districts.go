package api

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // the zones of districts must be known on every machine

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	readinessv1 "github.com/securly/sync/proto/gen/securly/sync/readiness/v1"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/ingest/internal/dropbox"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/ingest/internal/syncrun"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/pagetoken"
)

type districts struct {
	ingestv1.UnimplementedDistrictServiceServer
	Deps
}

func districtView(doc docstore.Doc[*ingestv1.DistrictDocument]) *ingestv1.District {
	d := doc.Value.GetDistrict()
	d.Name = "districts/" + doc.ID
	d.DistrictId = doc.ID
	d.Etag = etag(doc.Version)
	d.HistoryDays, d.PackageDays = proto.Int32(int32(HistoryDays(d))), proto.Int32(int32(PackageDays(d)))
	return d
}

const (
	defaultHistory = 400
	// maxHistory is a hundred years.
	maxHistory = 36_525
)

// HistoryDays is for how many days past states of the roster can be read.
func HistoryDays(d *ingestv1.District) int {
	return cmp.Or(int(d.GetHistoryDays()), defaultHistory)
}

// PackageDays is for how many days packages are kept.
func PackageDays(d *ingestv1.District) int {
	return cmp.Or(int(d.GetPackageDays()), HistoryDays(d))
}

var domainForm = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z0-9-]{2,}$`)

// checkDistrict checks and tidies what a person may set.
func checkDistrict(prefix string, d *ingestv1.District) error {
	d.DisplayName = strings.TrimSpace(d.GetDisplayName())
	if err := checkName(prefix+"displayName", d.GetDisplayName()); err != nil {
		return err
	}
	if zone := d.GetTimeZone(); zone != "" {
		if _, err := time.LoadLocation(zone); err != nil || zone == "Local" {
			return invalid(prefix+"timeZone", "is no IANA time zone; America/Chicago would be one")
		}
	}
	if days := d.GetHistoryDays(); d.HistoryDays != nil && (days < 1 || days > maxHistory) {
		return invalid(prefix+"historyDays", "must be from 1 to %d; history is kept for %d days if it was never set", maxHistory, defaultHistory)
	}
	if days := d.GetPackageDays(); d.PackageDays != nil && (days < 1 || days > maxHistory) {
		return invalid(prefix+"packageDays", "must be from 1 to %d; packages are kept as long as the history if it was never set", maxHistory)
	}
	if len(d.GetEmailDomains()) > 100 {
		return invalid(prefix+"emailDomains", "must not have more than 100 entries")
	}
	for i, domain := range d.GetEmailDomains() {
		domain = strings.ToLower(strings.TrimPrefix(strings.TrimSpace(domain), "@"))
		if len(domain) > 253 || !domainForm.MatchString(domain) {
			return invalid(prefix+"emailDomains", "entry %d is no domain; school.example would be one", i+1)
		}
		d.EmailDomains[i] = domain
	}
	return nil
}

func (s *districts) CreateDistrict(ctx context.Context, req *ingestv1.CreateDistrictRequest) (*ingestv1.District, error) {
	id := req.GetDistrictId()
	if err := checkID("districtId", id); err != nil {
		return nil, err
	}
	now := timestamppb.New(s.Now())
	d := &ingestv1.District{
		DisplayName: req.GetDistrict().GetDisplayName(), TimeZone: req.GetDistrict().GetTimeZone(),
		EmailDomains: req.GetDistrict().GetEmailDomains(), CreateTime: now, UpdateTime: now,
	}
	if sent := req.GetDistrict(); sent != nil {
		d.HistoryDays, d.PackageDays = sent.HistoryDays, sent.PackageDays // absent is not 0
	}
	if err := checkDistrict("district.", d); err != nil {
		return nil, err
	}
	if d.DisplayName == "" {
		d.DisplayName = id
	}
	exists := errs.Errorf(codes.AlreadyExists, "DISTRICT_EXISTS", "districtId: there is a district %s already", id).With("field", "districtId")
	switch doc, err := s.Store.Districts.Get(ctx, id); {
	case err == nil && doc.Value.GetDeleting():
		return nil, errs.Errorf(codes.FailedPrecondition, "DISTRICT_DELETING", "district %s is being deleted: wait until it is gone", id).With("field", "districtId")
	case err == nil:
		return nil, exists
	case !isNotFound(err):
		return nil, err
	}
	// The roster first: a district that can be seen can be read.
	if _, err := s.Roster.OpenDistrict(ctx, &rosterv1.OpenDistrictRequest{District: id}); err != nil {
		return nil, err
	}
	doc, err := s.Store.Districts.Create(ctx, id, &ingestv1.DistrictDocument{District: d})
	if errors.Is(err, docstore.ErrExists) {
		return nil, exists
	}
	if err != nil {
		return nil, err
	}
	return districtView(doc), nil
}

func (s *districts) ListDistricts(ctx context.Context, req *ingestv1.ListDistrictsRequest) (*ingestv1.ListDistrictsResponse, error) {
	caller := authn.FromContext(ctx)
	size, err := pagetoken.Size(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	out := &ingestv1.ListDistrictsResponse{}
	if caller.SeesAllDistricts() {
		docs, next, err := page(ctx, &s.Deps, s.Store.Districts, "districts", "", req.GetPageToken(), size)
		if err != nil {
			return nil, err
		}
		for _, doc := range docs {
			if !doc.Value.GetDeleting() {
				out.Districts = append(out.Districts, districtView(doc))
			}
		}
		out.NextPageToken = next
		return out, nil
	}
	// The districts of a person are few.
	binding := "districts of " + caller.Subject
	after, err := s.open(req.GetPageToken(), binding)
	if err != nil {
		return nil, err
	}
	own := slices.Clone(caller.Districts)
	slices.Sort(own)
	for _, id := range slices.Compact(own) {
		if id <= after {
			continue
		}
		doc, err := s.Store.District(ctx, id)
		if errors.Is(err, authn.ErrDistrictNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if len(out.Districts) == size {
			out.NextPageToken = s.seal(binding, out.Districts[size-1].GetDistrictId())
			break
		}
		out.Districts = append(out.Districts, districtView(doc))
	}
	return out, nil
}

func (s *districts) GetDistrict(ctx context.Context, req *ingestv1.GetDistrictRequest) (*ingestv1.District, error) {
	doc, err := s.Store.District(ctx, req.GetDistrict())
	if err != nil {
		return nil, err
	}
	return districtView(doc), nil
}

func (s *districts) UpdateDistrict(ctx context.Context, req *ingestv1.UpdateDistrictRequest) (*ingestv1.District, error) {
	next := proto.CloneOf(req.GetSettings())
	if next == nil {
		return nil, invalid("settings", "is required")
	}
	changes, err := updated(req.GetUpdateMask().GetPaths(), next)
	if err != nil {
		return nil, err
	}
	if err := checkDistrict("", next); err != nil {
		return nil, err
	}
	doc, err := s.Store.District(ctx, req.GetDistrict())
	if err != nil {
		return nil, err
	}
	if err := checkEtag(next.GetEtag(), etag(doc.Version)); err != nil {
		return nil, err
	}
	d := doc.Value.GetDistrict()
	if changes("display_name", next.GetDisplayName() != "") {
		d.DisplayName = next.GetDisplayName()
		if d.DisplayName == "" {
			d.DisplayName = doc.ID
		}
	}
	if changes("time_zone", next.GetTimeZone() != "") {
		d.TimeZone = next.GetTimeZone()
	}
	if changes("email_domains", len(next.GetEmailDomains()) > 0) {
		d.EmailDomains = next.GetEmailDomains()
	}
	if changes("history_days", next.HistoryDays != nil) {
		d.HistoryDays = next.HistoryDays
	}
	if changes("package_days", next.PackageDays != nil) {
		d.PackageDays = next.PackageDays
	}
	d.UpdateTime = timestamppb.New(s.Now())
	if doc, err = s.Store.Districts.Update(ctx, doc); err != nil {
		return nil, err
	}
	return districtView(doc), nil
}

func (s *districts) DeleteDistrict(ctx context.Context, req *ingestv1.DeleteDistrictRequest) (*ingestv1.DeleteDistrictResponse, error) {
	doc, err := s.Store.Districts.Get(ctx, req.GetDistrict())
	if err == nil && !doc.Value.GetDeleting() {
		_, err = s.Store.Districts.Modify(ctx, req.GetDistrict(), func(d *ingestv1.DistrictDocument) error {
			d.Deleting = true
			return nil
		})
	}
	if isNotFound(err) {
		return nil, authn.DistrictNotFound(req.GetDistrict())
	}
	if err != nil {
		return nil, err
	}
	if err := Erase(ctx, s.Deps, req.GetDistrict()); err != nil {
		return nil, err
	}
	return &ingestv1.DeleteDistrictResponse{}, nil
}

// Erase removes all that a district owns, and the district last. It may be
// repeated; a district that is marked as deleting stays so until it succeeds.
func Erase(ctx context.Context, d Deps, district string) (err error) {
	// Without syncs runners stop; with the lease none of them commits any more,
	// and no two erase: the second would find the next district of the name.
	lease, err := d.Leases.Acquire(ctx, state.CommitLease(district))
	if errors.Is(err, state.ErrBusy) {
		return errs.Errorf(codes.Unavailable, "DISTRICT_BUSY", "district %s is hidden from now on; it is still worked on, by a sync that plans or commits changes or by its deletion itself, and will be gone for good soon after that has ended: there is nothing more to do", district)
	}
	if err != nil {
		return err
	}
	kept, stop := lease.Keep(ctx)
	defer func() {
		stop()
		err = errors.Join(err, lease.Release(context.WithoutCancel(ctx)))
	}()
	doc, err := d.Store.Districts.Get(kept, district)
	if isNotFound(err) || err == nil && !doc.Value.GetDeleting() {
		return nil // done by someone else
	}
	if err != nil {
		return err
	}
	if _, err := d.Roster.EraseDistrict(kept, &rosterv1.EraseDistrictRequest{District: district}); err != nil {
		return err
	}
	if d.Readiness != nil {
		if _, err := d.Readiness.EraseDistrict(kept, &readinessv1.EraseDistrictRequest{District: district}); err != nil {
			return err
		}
	}
	if err := d.Store.Erase(kept, district); err != nil {
		return err
	}
	for _, prefix := range []string{"uploads/", dropbox.Prefix, "layers/", "findings/"} {
		if err := syncrun.DeleteBlobs(kept, d.Blobs, prefix+district+"/", func(string) bool { return true }); err != nil {
			return err
		}
	}
	if err := d.Store.Districts.DeleteVersion(kept, doc); err != nil && !isNotFound(err) {
		return err
	}
	return nil
}
