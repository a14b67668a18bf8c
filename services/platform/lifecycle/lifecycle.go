// Package lifecycle runs the parts of a program together and closes what was
// opened in reverse order.
package lifecycle

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// Component is a part that runs until its context ends.
type Component struct {
	Name string
	Run  func(ctx context.Context) error
}

// Run runs all components and returns when all have returned. The first one to
// fail stops the others, and its error is the result. A component that returns
// the error of a context that Run's caller has ended has not failed; one that
// returns nil early is just done.
func Run(ctx context.Context, components ...Component) error {
	group, inner := errgroup.WithContext(ctx)
	for _, c := range components {
		group.Go(func() error {
			err := c.Run(inner)
			if err == nil || (ctx.Err() != nil && ended(ctx, err)) {
				return nil
			}
			return fmt.Errorf("%s: %w", c.Name, err)
		})
	}
	return group.Wait()
}

func ended(ctx context.Context, err error) bool {
	return errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))
}

// Stack closes in reverse order what was opened one after the other. The zero
// Stack is ready.
type Stack struct{ opened []closer }

type closer struct {
	name  string
	close func() error
}

// Push puts on top what is to be closed before everything that is there.
func (s *Stack) Push(name string, close func() error) {
	s.opened = append(s.opened, closer{name, close})
}

// Close closes everything, also after an error, and empties the stack.
func (s *Stack) Close() error {
	var failed []error
	for len(s.opened) > 0 {
		top := s.opened[len(s.opened)-1]
		s.opened = s.opened[:len(s.opened)-1]
		if err := top.close(); err != nil {
			failed = append(failed, fmt.Errorf("close %s: %w", top.name, err))
		}
	}
	return errors.Join(failed...)
}
