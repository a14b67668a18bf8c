package gateway_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func basic(id, secret string) string {
	req := http.Request{Header: http.Header{}}
	req.SetBasicAuth(id, secret)
	return req.Header.Get("Authorization")
}

func TestTokenEndpoint(t *testing.T) {
	e := startWith(t, clientID+":"+clientSecret)
	form := func(pairs ...string) string {
		v := url.Values{}
		for i := 0; i+1 < len(pairs); i += 2 {
			v.Add(pairs[i], pairs[i+1])
		}
		return v.Encode()
	}
	grant := []string{"grant_type", "client_credentials"}
	for _, c := range []struct {
		name        string
		query, form string
		auth        string
		status      int
		err         string
	}{
		{name: "Basic as it is", form: form(grant...), auth: basic(clientID, clientSecret), status: 200},
		{name: "Basic, encoded", form: form(grant...), auth: basic(clientID, url.QueryEscape(clientSecret)), status: 200},
		{name: "form", form: form(append(grant, "client_id", clientID, "client_secret", clientSecret)...), status: 200},
		{name: "all in the query", query: "?" + form(append(grant, "client_id", clientID, "client_secret", clientSecret)...), status: 200},
		{name: "grant and scope in the query", query: "?" + form(append(grant, "scope", "rosters.read")...), auth: basic(clientID, clientSecret), status: 200},
		{name: "both, the same", form: form(append(grant, "client_id", clientID)...), auth: basic(clientID, clientSecret), status: 200},
		{name: "both, different", form: form(append(grant, "client_id", "other")...), auth: basic(clientID, clientSecret), status: 400, err: "invalid_request"},
		{name: "wrong secret", form: form(grant...), auth: basic(clientID, "wrong"), status: 401, err: "invalid_client"},
		{name: "unknown client", form: form(append(grant, "client_id", "nobody", "client_secret", "x")...), status: 401, err: "invalid_client"},
		{name: "no client", form: form(grant...), status: 401, err: "invalid_client"},
		{name: "no grant type", auth: basic(clientID, clientSecret), status: 400, err: "invalid_request"},
		{name: "other grant type", form: form("grant_type", "password"), auth: basic(clientID, clientSecret), status: 400, err: "unsupported_grant_type"},
		{name: "no scope of ours", form: form(append(grant, "scope", "grades.write")...), auth: basic(clientID, clientSecret), status: 400, err: "invalid_scope"},
		{name: "huge", form: "x=" + strings.Repeat("a", 1<<20), status: 400, err: "invalid_request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := []string{"Content-Type", "application/x-www-form-urlencoded"}
			if c.auth != "" {
				header = append(header, "Authorization", c.auth)
			}
			a := e.do(t, e.Client(), "POST", "/oauth2/token"+c.query, strings.NewReader(c.form), header...)
			require.Equal(t, c.status, a.StatusCode, a.body)
			require.Equal(t, "no-store", a.Header.Get("Cache-Control"))
			body := a.json(t)
			if c.err != "" {
				require.Equal(t, c.err, body["error"])
				require.NotEmpty(t, body["error_description"])
				if c.status == http.StatusUnauthorized {
					require.Contains(t, a.Header.Get("WWW-Authenticate"), "Basic")
				}
				return
			}
			require.Equal(t, "Bearer", body["token_type"])
			require.InDelta(t, 900, body["expires_in"], 0)
			me := e.do(t, e.Client(), "GET", "/v1/me", nil, "Authorization", "Bearer "+body["access_token"].(string))
			require.Equal(t, 200, me.StatusCode, me.body)
			require.Equal(t, body["scope"], join(me.json(t)["scopes"]))
		})
	}
	a := e.do(t, e.Client(), "GET", "/oauth2/token", nil)
	require.Equal(t, http.StatusMethodNotAllowed, a.StatusCode)
}

func join(list any) string {
	var words []string
	for _, w := range list.([]any) {
		words = append(words, w.(string))
	}
	return strings.Join(words, " ")
}

func TestBrowserSession(t *testing.T) {
	e := start(t)
	b := browser(t)
	require.Equal(t, 401, e.do(t, b, "GET", "/v1/me", nil).StatusCode)
	e.signIn(t, b)

	me := e.do(t, b, "GET", "/v1/me", nil)
	require.Equal(t, 200, me.StatusCode, me.body)
	require.Equal(t, "operator", me.json(t)["subject"])

	out := e.do(t, b, "POST", "/auth/logout", nil, "Sec-Fetch-Site", "same-origin")
	require.Equal(t, http.StatusNoContent, out.StatusCode, out.body)
	require.Equal(t, 401, e.do(t, b, "GET", "/v1/me", nil).StatusCode)
}

func TestSignInLinkThatIsUsed(t *testing.T) {
	e := start(t)
	first := e.do(t, browser(t), "GET", "/auth/link?code=made-up", nil)
	require.Equal(t, 401, first.StatusCode)
	require.Contains(t, first.body, "ask for a new one")
	require.Empty(t, first.Cookies())
}

func TestSessionEndsEverywhere(t *testing.T) {
	e := start(t)
	b := browser(t)
	e.signIn(t, b)
	address, err := url.Parse(e.URL)
	require.NoError(t, err)
	stolen := browser(t)
	stolen.Jar.SetCookies(address, b.Jar.Cookies(address))
	require.Equal(t, 200, e.do(t, stolen, "GET", "/v1/me", nil).StatusCode)

	require.Equal(t, http.StatusNoContent, e.do(t, b, "POST", "/auth/logout", nil).StatusCode)
	after := e.do(t, stolen, "GET", "/v1/me", nil)
	require.Equal(t, 401, after.StatusCode)
	require.Equal(t, "SESSION_ENDED", after.json(t)["reason"])
	require.Empty(t, stolen.Jar.Cookies(address), "the cookie is taken back")
}

func TestSessionCookie(t *testing.T) {
	e := start(t)
	for _, c := range []struct {
		proto, name string
		secure      bool
	}{
		{"http", "securly_sync_session", false},
		{"https", "__Host-securly_sync_session", true},
	} {
		t.Run(c.proto, func(t *testing.T) {
			out := e.do(t, browser(t), "POST", "/auth/logout", nil, "X-Forwarded-Proto", c.proto)
			require.Len(t, out.Cookies(), 1)
			cookie := out.Cookies()[0]
			require.Equal(t, c.name, cookie.Name)
			require.Equal(t, c.secure, cookie.Secure)
			require.True(t, cookie.HttpOnly)
			require.Equal(t, http.SameSiteLaxMode, cookie.SameSite)
			require.Equal(t, "/", cookie.Path)
			require.Empty(t, cookie.Domain)
		})
	}
}

// A page of another site can make a browser send its cookie, but not have anything changed.
func TestCrossSiteRequestsAreRefused(t *testing.T) {
	e := start(t)
	b := browser(t)
	e.signIn(t, b)
	body := `{"displayName":"Lakeside"}`
	for _, c := range []struct {
		name   string
		header []string
		status int
	}{
		{"own page", []string{"Sec-Fetch-Site", "same-origin", "Origin", e.URL}, 200},
		{"own page of an old browser", []string{"Origin", e.URL}, 200},
		{"other site", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://elsewhere.example"}, 403},
		{"other host of the domain", []string{"Sec-Fetch-Site", "same-site"}, 403},
		{"other site of an old browser", []string{"Origin", "https://elsewhere.example"}, 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := e.do(t, b, "POST", "/v1/districts?districtId=lakeside", strings.NewReader(body), c.header...)
			require.Equal(t, c.status, a.StatusCode, a.body)
			logout := e.do(t, browser(t), "POST", "/auth/logout", nil, c.header...)
			require.Equal(t, c.status == 403, logout.StatusCode == 403)
		})
	}
	// A token cannot be sent by accident.
	a := e.call(t, "POST", "/v1/districts?districtId=lakeside", body, "Origin", "https://elsewhere.example")
	require.Equal(t, 200, a.StatusCode, a.body)
}
