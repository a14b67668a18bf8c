package ingest_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/testkit"
)

// field asserts that err is about one field of the request.
func field(t *testing.T, name string, err error) {
	t.Helper()
	require.ErrorIs(t, err, errs.New(codes.InvalidArgument, "INVALID_ARGUMENT", ""))
	var e *errs.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, name, e.Detail("field"))
	require.Contains(t, err.Error(), name)
}

func TestDistricts(t *testing.T) {
	h := newHub(t)
	for name, req := range map[string]*ingestv1.CreateDistrictRequest{
		"districtId":            {DistrictId: "No!"},
		"district.timeZone":     {DistrictId: "x", District: &ingestv1.District{TimeZone: "Moon/Crater"}},
		"district.emailDomains": {DistrictId: "x", District: &ingestv1.District{EmailDomains: []string{"not a domain"}}},
		"district.displayName":  {DistrictId: "x", District: &ingestv1.District{DisplayName: string(make([]byte, 300))}},
	} {
		_, err := h.districts.CreateDistrict(h.ctx, req)
		field(t, name, err)
	}
	_, err := h.districts.CreateDistrict(h.ctx, &ingestv1.CreateDistrictRequest{DistrictId: "d"})
	require.ErrorIs(t, err, errs.New(codes.AlreadyExists, "DISTRICT_EXISTS", ""))

	d, err := h.districts.CreateDistrict(h.ctx, &ingestv1.CreateDistrictRequest{DistrictId: "e", District: &ingestv1.District{
		DisplayName: "East", TimeZone: "America/Chicago", EmailDomains: []string{"@East.Example"},
	}})
	require.NoError(t, err)
	require.Equal(t, "districts/e", d.GetName())
	require.Equal(t, []string{"east.example"}, d.GetEmailDomains())
	require.EqualValues(t, 0, h.roster.Revision("e"), "its roster is open")

	next, err := h.districts.UpdateDistrict(h.ctx, &ingestv1.UpdateDistrictRequest{District: "e", Settings: &ingestv1.District{DisplayName: "Far East", Etag: d.GetEtag()}})
	require.NoError(t, err)
	require.Equal(t, "Far East", next.GetDisplayName())
	require.Equal(t, "America/Chicago", next.GetTimeZone())
	_, err = h.districts.UpdateDistrict(h.ctx, &ingestv1.UpdateDistrictRequest{District: "e", Settings: &ingestv1.District{DisplayName: "Lost", Etag: d.GetEtag()}})
	require.ErrorIs(t, err, errs.New(codes.Aborted, "ETAG_MISMATCH", ""))
	next, err = h.districts.UpdateDistrict(h.ctx, &ingestv1.UpdateDistrictRequest{District: "e", Settings: &ingestv1.District{}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"time_zone"}}})
	require.NoError(t, err)
	require.Empty(t, next.GetTimeZone())
	require.Equal(t, "Far East", next.GetDisplayName())
	next, err = h.districts.UpdateDistrict(h.ctx, &ingestv1.UpdateDistrictRequest{District: "e", Settings: &ingestv1.District{TimeZone: "America/Denver", DisplayName: "x"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"timeZone"}}})
	require.NoError(t, err)
	require.Equal(t, "America/Denver", next.GetTimeZone())
	require.Equal(t, "Far East", next.GetDisplayName())
	_, err = h.districts.UpdateDistrict(h.ctx, &ingestv1.UpdateDistrictRequest{District: "e", Settings: &ingestv1.District{}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"colour"}}})
	field(t, "updateMask", err)

	list, err := h.districts.ListDistricts(h.ctx, &ingestv1.ListDistrictsRequest{PageSize: 1})
	require.NoError(t, err)
	require.Equal(t, "d", list.GetDistricts()[0].GetDistrictId())
	list, err = h.districts.ListDistricts(h.ctx, &ingestv1.ListDistrictsRequest{PageSize: 1, PageToken: list.GetNextPageToken()})
	require.NoError(t, err)
	require.Equal(t, "e", list.GetDistricts()[0].GetDistrictId())

	own := testkit.As(t, t.Context(), authn.Principal{Subject: "p", Districts: []string{"gone", "e"}, Scopes: []string{"districts.read"}})
	list, err = h.districts.ListDistricts(own, &ingestv1.ListDistrictsRequest{})
	require.NoError(t, err)
	require.Len(t, list.GetDistricts(), 1)
	_, err = h.districts.GetDistrict(own, &ingestv1.GetDistrictRequest{District: "d"})
	require.ErrorIs(t, err, authn.ErrDistrictNotFound)
}

func TestSources(t *testing.T) {
	h := newHub(t)
	create := func(id string, s *ingestv1.Source) error {
		_, err := h.sources.CreateSource(h.ctx, &ingestv1.CreateSourceRequest{District: "d", SourceId: id, Source: s})
		return err
	}
	field(t, "sourceId", create("-", &ingestv1.Source{Connector: "oneroster-csv"}))
	field(t, "source.connector", create("x", &ingestv1.Source{Connector: "carrier-pigeon"}))
	field(t, "source.settings.mode", create("x", &ingestv1.Source{Connector: "oneroster-csv", Settings: structOf(t, map[string]string{"mode": "fast"})}))
	field(t, "source.settings.colour", create("x", &ingestv1.Source{Connector: "oneroster-csv", Settings: structOf(t, map[string]string{"colour": "red"})}))
	require.ErrorIs(t, create("sis", &ingestv1.Source{Connector: "oneroster-csv"}), errs.New(codes.AlreadyExists, "SOURCE_EXISTS", ""))

	catalogue, err := h.sources.ListConnectors(h.ctx, &ingestv1.ListConnectorsRequest{})
	require.NoError(t, err)
	require.Equal(t, "oneroster-csv", catalogue.GetConnectors()[0].GetConnectorId())
	require.Len(t, catalogue.GetConnectors()[0].GetRequired(), 3)

	s, err := h.sources.UpdateSource(h.ctx, &ingestv1.UpdateSourceRequest{District: "d", Source: "sis", Settings: &ingestv1.Source{
		DisplayName: "Student system", Settings: structOf(t, map[string]string{"mode": "bulk"}),
	}})
	require.NoError(t, err)
	require.Equal(t, "Student system", s.GetDisplayName())
	require.Equal(t, "bulk", s.GetSettings().GetFields()["mode"].GetStringValue())

	done := h.completed(h.sync("sis", sound()))
	list, err := h.sources.ListSources(h.ctx, &ingestv1.ListSourcesRequest{District: "d"})
	require.NoError(t, err)
	require.Len(t, list.GetSources(), 1)
	require.Equal(t, done.GetSyncId(), list.GetSources()[0].GetLastSync())
	for i := range 501 { // of another source
		id := fmt.Sprintf("ffffffff-%04d", i)
		_, err := state.New(h.docs).Syncs.Create(t.Context(), state.Key("d", id), &ingestv1.SyncDocument{District: "d", Sync: &ingestv1.Sync{SyncId: id, Source: "x"}})
		require.NoError(t, err)
	}
	get, err := h.sources.GetSource(h.ctx, &ingestv1.GetSourceRequest{District: "d", Source: "sis"})
	require.NoError(t, err)
	require.Equal(t, done.GetSyncId(), get.GetLastSync())

	update := &ingestv1.UpdateSourceRequest{
		District: "d", Source: "sis", Settings: &ingestv1.Source{DisplayName: "Another name", Etag: s.GetEtag()},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"displayName"}},
	}
	s, err = h.sources.UpdateSource(h.ctx, update)
	require.NoError(t, err, "a sync is no change of the settings")
	require.Equal(t, "Another name", s.GetDisplayName())
	require.Equal(t, done.GetSyncId(), s.GetLastSync())
	_, err = h.sources.UpdateSource(h.ctx, update)
	require.ErrorIs(t, err, errs.New(codes.Aborted, "ETAG_MISMATCH", ""))

	h.newSource("unused", nil)
	_, err = h.sources.DeleteSource(h.ctx, &ingestv1.DeleteSourceRequest{District: "d", Source: "unused"})
	require.NoError(t, err)
	require.Eventually(t, func() bool { // until the sync has let go of it
		_, err = h.sources.DeleteSource(h.ctx, &ingestv1.DeleteSourceRequest{District: "d", Source: "sis"})
		var e *errs.Error
		require.ErrorAs(t, err, &e)
		return e.Reason == "SOURCE_OWNS_RECORDS"
	}, testkit.Wait, 5*time.Millisecond)
	require.ErrorContains(t, err, "records=freeze")
}

func TestDeleteDistrictErasesEverything(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", large(300)))
	h.sync("sis", large(100)) // on hold
	require.NotEmpty(t, h.stored("layers"))
	require.Eventually(t, func() bool { // a commit that is under way is waited for
		_, err := h.districts.DeleteDistrict(h.ctx, &ingestv1.DeleteDistrictRequest{District: "d"})
		return err == nil || errors.Is(err, authn.ErrDistrictNotFound)
	}, testkit.Wait, 5*time.Millisecond)
	require.EqualValues(t, -1, h.roster.Revision("d"))
	require.Contains(t, h.readiness.erased, "d")
	require.Empty(t, h.stored("layers"))
	require.Empty(t, h.stored("uploads"))
	require.Empty(t, h.stored("findings"))
	_, err := h.districts.GetDistrict(h.ctx, &ingestv1.GetDistrictRequest{District: "d"})
	require.ErrorIs(t, err, authn.ErrDistrictNotFound)
	_, err = h.syncs.ListSyncs(h.ctx, &ingestv1.ListSyncsRequest{District: "d"})
	require.ErrorIs(t, err, authn.ErrDistrictNotFound)

	_, err = h.districts.CreateDistrict(h.ctx, &ingestv1.CreateDistrictRequest{DistrictId: "d"})
	require.NoError(t, err)
	h.newSource("sis", nil)
	require.EqualValues(t, 1, h.completed(h.sync("sis", sound())).GetRevision(), "a district of the same name begins anew")
}
