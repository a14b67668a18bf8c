package standalone

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
)

// checker is a service that looks through what it keeps.
type checker interface {
	Check(ctx context.Context, in *typev1.CheckRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[typev1.CheckResponse], error)
}

// Check has every service look through what it keeps and calls tell with each problem. It returns
// what was looked at, in numbers.
func (o *Operator) Check(ctx context.Context, repair bool, tell func(*typev1.Problem) error) ([]*typev1.Checked, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var checked []*typev1.Checked
	for _, c := range o.checks {
		stream, err := c.Check(ctx, &typev1.CheckRequest{Repair: repair})
		if err != nil {
			return nil, fmt.Errorf("check: %w", err)
		}
		for {
			m, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("check: %w", err)
			}
			if n := m.GetChecked(); n != nil {
				checked = append(checked, n)
			} else if err := tell(m.GetProblem()); err != nil {
				return nil, err
			}
		}
	}
	return checked, nil
}

// ErasePerson erases a person from a district.
func (o *Operator) ErasePerson(ctx context.Context, district, user string) (*ingestv1.ErasePersonResponse, error) {
	return o.ingest.ErasePerson(ctx, &ingestv1.ErasePersonRequest{District: district, SourcedId: user})
}
