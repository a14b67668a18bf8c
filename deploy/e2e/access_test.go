package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/services/rostergen"
)

// A client of one district sees that district and nothing that tells it of
// another one.
func TestDistrictsAreApart(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, h hub) {
		h.newDistrict(t, "mine")
		h.newDistrict(t, "theirs")
		zip, _ := generate(t, rostergen.Config{Seed: 9, Students: 100})
		h.sync(t, "mine", zip)
		s := h.sync(t, "theirs", zip)

		var made struct{ ClientID, ClientSecret string }
		require.NoError(t, h.Call(t.Context(), "POST", "/v1/clients", map[string]any{
			"displayName": "One district", "districts": []string{"mine"},
			"scopes": []string{"districts.read", "sources.read", "sources.write", "syncs.run", "rosters.read", "readiness.read", "readiness.run"},
		}, &made))
		c, err := h.ClientAs(t.Context(), made.ClientID, made.ClientSecret)
		require.NoError(t, err)

		var list struct{ Districts []struct{ DistrictID string } }
		require.NoError(t, c.Call(t.Context(), "GET", "/v1/districts", nil, &list))
		require.Len(t, list.Districts, 1)
		require.NoError(t, c.Call(t.Context(), "GET", "/v1/districts/mine/users", nil, nil))

		for _, path := range []string{
			"", "/users", "/users:get?sourcedId=x", "/users:export", ":export", "/revisions", "/sources", "/sources/sis",
			"/syncs", "/syncs/" + s.SyncID, "/syncs/" + s.SyncID + "/findings", "/readinessReports", "/overview",
		} {
			foreign, err := c.Do(t.Context(), "GET", "/v1/districts/theirs"+path, nil)
			require.NoError(t, err)
			require.Equal(t, http.StatusNotFound, foreign.Status, path)
			unknown, err := c.Do(t.Context(), "GET", "/v1/districts/nobody"+path, nil)
			require.NoError(t, err)
			require.Equal(t, http.StatusNotFound, unknown.Status, path)
			var a, b struct{ Reason, Message string }
			require.NoError(t, foreign.JSON(&a))
			require.NoError(t, unknown.JSON(&b))
			require.Equal(t, strings.ReplaceAll(a.Message, "theirs", "nobody"), b.Message, path)
			require.Equal(t, a.Reason, b.Reason, path)
		}
		for _, call := range [][2]string{
			{"POST", "/v1/districts?districtId=another"}, {"DELETE", "/v1/districts/mine"}, {"GET", "/v1/clients"},
		} {
			a, err := c.Do(t.Context(), call[0], call[1], map[string]any{})
			require.NoError(t, err)
			require.Equal(t, http.StatusForbidden, a.Status, call)
		}
	})
}

// Without a valid token nothing answers but what is public.
func TestWithoutToken(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, h hub) {
		for path, status := range map[string]int{
			"/v1/districts": 401, "/v1/districts/any/users": 401, "/v1/districts/any:export": 401, "/v1/districts/any:watch": 401,
			"/v1/me": 401, "/healthz": 200, "/readyz": 200, "/openapi.json": 200, "/docs": 200, "/.well-known/jwks.json": 200,
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.HTTPURL+path, nil)
			require.NoError(t, err)
			req.Header.Set("Authorization", "Bearer not-a-token")
			res, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			require.Equal(t, status, res.StatusCode, path)
		}
		_, err := h.ClientAs(t.Context(), "hubtest", "wrong")
		require.ErrorContains(t, err, "invalid_client")
	})
}
