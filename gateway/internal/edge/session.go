package edge

import (
	"context"
	"errors"
	"html/template"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/securly/sync/gateway/internal/problem"
	authv1 "github.com/securly/sync/proto/gen/securly/sync/auth/v1"
	"github.com/securly/sync/services/platform/errs"
)

// cookieName of the session. Over https the prefix makes browsers refuse a cookie that another
// host of the domain has set.
const (
	cookieName       = "securly_sync_session"
	cookieNameSecure = "__Host-" + cookieName
)

var errCrossSite = errs.New(codes.PermissionDenied, "CROSS_SITE_REQUEST",
	"the request comes from another site: a browser's session can only be used from the pages of this hub")

// withSession lets a browser's session stand for a token. Every request asks the auth service, so
// a session that was ended is ended everywhere at once.
func (a *API) withSession(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cookie := sessionCookie(r)
		if cookie == nil || r.Header.Get("Authorization") != "" {
			next.ServeHTTP(w, r)
			return
		}
		// Only requests with a cookie can be forged by another site.
		if err := a.crossSite.Check(r); err != nil {
			problem.Write(w, r, a.log, errCrossSite)
			return
		}
		session, err := a.auth.RefreshSession(r.Context(), &authv1.RefreshSessionRequest{SessionId: cookie.Value}, a.asGateway)
		if err != nil {
			if isSessionEnd(err) {
				setCookie(w, r, "", time.Unix(1, 0))
			}
			problem.Write(w, r, a.log, err)
			return
		}
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+session.GetAccessToken())
		next.ServeHTTP(w, r)
	})
}

// isSessionEnd tells the end of a session from a failure of the gateway to sign in itself.
func isSessionEnd(err error) bool {
	var e *errs.Error
	return errors.As(err, &e) && e.Reason == "SESSION_ENDED"
}

// redeemLink signs a browser in.
func (a *API) redeemLink(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	// A link works once; looking ahead must not use it up.
	if r.Method != http.MethodGet || strings.Contains(r.Header.Get("Sec-Purpose"), "prefetch") {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	session, err := a.auth.RedeemSignInLink(r.Context(), &authv1.RedeemSignInLinkRequest{Code: utf8Text(r.URL.Query().Get("code"))})
	if err != nil {
		p := problem.From(r.Context(), err)
		if p.Code != http.StatusUnauthorized {
			a.log.ErrorContext(r.Context(), "a sign-in link could not be used", "request", p.TraceID, "error", err)
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(p.Code)
		linkPage.Execute(w, p.Message) //nolint:errcheck // the client is gone
		return
	}
	setCookie(w, r, session.GetSessionId(), session.GetExpireTime().AsTime())
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// linkPage hands a browser on to the UI, which says the same more kindly.
var linkPage = template.Must(template.New("link").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=/?signin=expired"><title>Sign-in link · Securly Sync</title>
<h1>This link does not sign you in</h1><p>{{.}}.</p><p><a href="/">Go to Securly Sync</a></p></html>
`))

// logout ends the browser's session.
func (a *API) logout(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if err := a.crossSite.Check(r); err != nil {
		problem.Write(w, r, a.log, errCrossSite)
		return
	}
	if cookie := sessionCookie(r); cookie != nil {
		// A closed tab must not leave the session open.
		ctx := context.WithoutCancel(r.Context())
		if _, err := a.auth.EndSession(ctx, &authv1.EndSessionRequest{SessionId: cookie.Value}, a.asGateway); err != nil {
			problem.Write(w, r, a.log, err)
			return
		}
	}
	setCookie(w, r, "", time.Unix(1, 0))
	w.WriteHeader(http.StatusNoContent)
}

func sessionCookie(r *http.Request) *http.Cookie {
	name := cookieName
	if isHTTPS(r) {
		name = cookieNameSecure
	}
	if cookie, err := r.Cookie(name); err == nil && cookie.Value != "" {
		return cookie
	}
	return nil
}

func setCookie(w http.ResponseWriter, r *http.Request, value string, expires time.Time) {
	cookie := &http.Cookie{
		Name:     cookieName,
		Value:    value,
		Path:     "/",
		Expires:  expires,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	}
	if isHTTPS(r) {
		cookie.Name, cookie.Secure = cookieNameSecure, true
	}
	http.SetCookie(w, cookie)
}

// isHTTPS believes a proxy's header: whoever forges it only makes its own cookie stricter.
func isHTTPS(r *http.Request) bool {
	return r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https"
}
