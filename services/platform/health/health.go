// Package health tells load balancers and operators whether a program is alive
// and whether it can do its work now.
package health

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// checkTimeout is less than the usual time limit of a probe.
const checkTimeout = 2 * time.Second

var errStopping = errors.New("the program is stopping")

// Checks are what a program depends on. The zero Checks is ready.
type Checks struct {
	mu       sync.Mutex
	checks   []check
	draining bool
}

type check struct {
	name string
	run  func(context.Context) error
}

// Add adds a dependency; run says why it is not ready. It must return when its
// context ends and must not put secrets into its error.
func (c *Checks) Add(name string, run func(context.Context) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checks = append(c.checks, check{name, run})
}

// Drain makes the program not ready for good, so that no new work is sent here.
func (c *Checks) Drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
}

// Ready returns nil, or one error for each dependency that is not ready.
func (c *Checks) Ready(ctx context.Context) error {
	c.mu.Lock()
	checks, draining := c.checks, c.draining
	c.mu.Unlock()
	if draining {
		return errStopping
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	results := make([]error, len(checks))
	var running sync.WaitGroup
	for i, check := range checks {
		running.Go(func() {
			if err := check.run(ctx); err != nil {
				results[i] = fmt.Errorf("%s is not ready: %w", check.name, err)
			}
		})
	}
	running.Wait()
	return errors.Join(results...)
}

// Handler serves /healthz, which answers while the program runs, and /readyz,
// which says which dependency is not ready.
func (c *Checks) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		write(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := c.Ready(r.Context()); err != nil {
			write(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		write(w, http.StatusOK, "ready")
	})
	return mux
}

func write(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = fmt.Fprintln(w, text) // The prober may have left.
}
