package edge

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/securly/sync/gateway/internal/problem"
	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	"github.com/securly/sync/services/platform/errs"
)

// maxForm bounds the body of a token request.
const maxForm = 64 << 10

// token is the OAuth2 token endpoint (RFC 6749 §4.4), as tolerant as consumers of rosters need it:
// everything may also come in the query string.
func (a *API) token(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		oauthError(w, http.StatusBadRequest, "invalid_request", "the form cannot be read")
		return
	}
	switch grant := r.Form.Get("grant_type"); grant {
	case "client_credentials":
	case "":
		oauthError(w, http.StatusBadRequest, "invalid_request", "grant_type is missing: send grant_type=client_credentials as a form field")
		return
	default:
		oauthError(w, http.StatusBadRequest, "unsupported_grant_type", "the only grant type is client_credentials")
		return
	}
	candidates, ok := credentialsOf(r)
	if !ok {
		oauthError(w, http.StatusBadRequest, "invalid_request", "the Authorization header and the form name different clients: use one of them")
		return
	}
	err := error(errs.New(codes.Unauthenticated, "INVALID_CLIENT", "send the client's id and secret by HTTP Basic, or as client_id and client_secret"))
	for _, c := range candidates {
		var issued *authv1.IssueTokenResponse
		issued, err = a.auth.IssueToken(r.Context(), &authv1.IssueTokenRequest{
			ClientId: utf8Text(c.id), ClientSecret: utf8Text(c.secret), Scope: utf8Text(r.Form.Get("scope")),
		})
		if err == nil {
			writeJSON(w, http.StatusOK, map[string]any{
				"access_token": issued.GetAccessToken(),
				"token_type":   "Bearer",
				"expires_in":   issued.GetExpiresIn(),
				"scope":        issued.GetScope(),
			})
			return
		}
		if errs.Status(err).Code() != codes.Unauthenticated {
			break
		}
	}
	var named *errs.Error
	errors.As(err, &named)
	switch {
	case named != nil && named.Code == codes.Unauthenticated:
		// Some clients send their credentials only after this challenge.
		w.Header().Set("WWW-Authenticate", `Basic realm="securly-sync", charset="UTF-8"`)
		oauthError(w, http.StatusUnauthorized, "invalid_client", named.Error())
	case named != nil && named.Reason == "INVALID_SCOPE":
		oauthError(w, http.StatusBadRequest, "invalid_scope", named.Error())
	case named != nil && named.Code == codes.InvalidArgument:
		oauthError(w, http.StatusBadRequest, "invalid_request", named.Error())
	default:
		a.log.ErrorContext(r.Context(), "issuing a token failed", "request", problem.TraceID(r.Context()), "error", err)
		oauthError(w, http.StatusServiceUnavailable, "temporarily_unavailable", "no token can be issued now: try again")
	}
}

// utf8Text makes what nobody has been given, but gRPC can carry, of what is no text.
func utf8Text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

type clientCredentials struct{ id, secret string }

// credentialsOf returns what to try, in order. The standard wants id and secret of HTTP Basic
// URL-encoded, most clients do not: as sent first, then decoded. It is false when the header and
// the form contradict each other.
func credentialsOf(r *http.Request) ([]clientCredentials, bool) {
	form := clientCredentials{r.Form.Get("client_id"), r.Form.Get("client_secret")}
	id, secret, basic := r.BasicAuth()
	if !basic {
		if form.id == "" {
			return nil, true
		}
		return []clientCredentials{form}, true
	}
	raw := clientCredentials{id, secret}
	candidates := []clientCredentials{raw}
	decodedID, err1 := url.QueryUnescape(id)
	decodedSecret, err2 := url.QueryUnescape(secret)
	decoded := clientCredentials{decodedID, decodedSecret}
	if err1 == nil && err2 == nil && decoded != raw {
		candidates = append(candidates, decoded)
	}
	agrees := func(c clientCredentials) bool {
		return cmp.Or(form.id, c.id) == c.id && cmp.Or(form.secret, c.secret) == c.secret
	}
	for _, c := range candidates {
		if agrees(c) {
			return candidates, true
		}
	}
	return nil, false
}

// keys answers /.well-known/jwks.json.
func (a *API) keys(w http.ResponseWriter, r *http.Request) {
	keys, err := a.auth.GetKeys(r.Context(), &authv1.GetKeysRequest{})
	if err != nil {
		problem.Write(w, r, a.log, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.Write([]byte(keys.GetJwks())) //nolint:errcheck // the client is gone
}

// oauthError answers as RFC 6749 §5.2 says.
func oauthError(w http.ResponseWriter, status int, name, description string) {
	writeJSON(w, status, map[string]any{"error": name, "error_description": description})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) //nolint:errcheck // plain data; the client is gone
}
