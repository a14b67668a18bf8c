package rosterclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// tokenTimeout bounds one call of the token endpoint.
const tokenTimeout = 30 * time.Second

// tokens puts a valid token on each call. It is a credentials.PerRPCCredentials.
type tokens struct {
	config    clientcredentials.Config
	http      *http.Client
	plaintext bool

	mu     sync.Mutex
	source oauth2.TokenSource
}

func newTokens(cfg Config) (*tokens, error) {
	u, err := url.Parse(cfg.TokenURL)
	switch {
	case err != nil || u.Host == "":
		return nil, errors.New(`TokenURL is no URL: set it to "https://<hub>/oauth2/token"`)
	case u.Scheme != "https" && (u.Scheme != "http" || !cfg.Plaintext):
		return nil, fmt.Errorf("TokenURL is %s: the secret would travel unencrypted; use https, or set Plaintext for a hub on this machine", u.Scheme)
	case cfg.ClientID == "" || cfg.ClientSecret == "":
		return nil, errors.New("ClientID or ClientSecret is empty: make a client with `securly-sync client create`")
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: cfg.TLS.Clone(), ForceAttemptHTTP2: true}
	t := &tokens{
		config: clientcredentials.Config{
			ClientID: cfg.ClientID, ClientSecret: cfg.ClientSecret, TokenURL: cfg.TokenURL, AuthStyle: oauth2.AuthStyleInHeader,
		},
		http:      &http.Client{Transport: transport, Timeout: tokenTimeout},
		plaintext: cfg.Plaintext,
	}
	t.forget()
	return t, nil
}

// forget drops the token at hand, which the hub does not take any more.
func (t *tokens) forget() {
	source := t.config.TokenSource(context.WithValue(context.Background(), oauth2.HTTPClient, t.http))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.source = source
}

func (t *tokens) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	t.mu.Lock()
	source := t.source
	t.mu.Unlock()
	token, err := source.Token()
	if err == nil {
		return map[string]string{"authorization": "Bearer " + token.AccessToken}, nil
	}
	code := codes.Unavailable
	if refused := (*oauth2.RetrieveError)(nil); errors.As(err, &refused) && refused.Response.StatusCode/100 == 4 &&
		refused.Response.StatusCode != http.StatusTooManyRequests {
		code = codes.Unauthenticated
	}
	return nil, status.Errorf(code, "get a token: %v", err)
}

func (t *tokens) RequireTransportSecurity() bool { return !t.plaintext }
