package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	"github.com/securly/sync/services/platform/record"
)

// apiJSON writes messages with all their fields, so that clients need not know defaults, and
// refuses fields that it does not know, so that a mistyped one does not go unnoticed.
type apiJSON struct{ runtime.JSONPb }

func newAPIJSON() *apiJSON {
	return &apiJSON{runtime.JSONPb{MarshalOptions: protojson.MarshalOptions{EmitDefaultValues: true}}}
}

// rawJSON is a response that is JSON already.
type rawJSON []byte

func (m *apiJSON) Marshal(v any) ([]byte, error) {
	if raw, ok := v.(rawJSON); ok {
		return raw, nil
	}
	text, err := m.JSONPb.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	// protojson adds spaces at random; answers should be comparable.
	if err := json.Compact(&out, text); err != nil {
		return nil, fmt.Errorf("write JSON: %w", err)
	}
	return out.Bytes(), nil
}

func (m *apiJSON) NewDecoder(r io.Reader) runtime.Decoder {
	return runtime.DecoderFunc(func(v any) error {
		body, err := io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("read the body: %w", err)
		}
		if len(bytes.TrimSpace(body)) == 0 {
			return io.EOF
		}
		msg, ok := message(v)
		if !ok {
			return m.JSONPb.NewDecoder(bytes.NewReader(body)).Decode(v)
		}
		if err := protojson.Unmarshal(body, msg); err != nil {
			return fmt.Errorf("the body is not as expected: %s", plain(err))
		}
		return nil
	})
}

// message returns what v points to. For a body that is one field of the request it is the address
// of that field, a message not yet made.
func message(v any) (proto.Message, bool) {
	if msg, ok := v.(proto.Message); ok {
		return msg, true
	}
	field := reflect.ValueOf(v).Elem()
	if field.Kind() == reflect.Pointer && field.IsNil() {
		field.Set(reflect.New(field.Type().Elem()))
	}
	msg, ok := field.Interface().(proto.Message)
	return msg, ok
}

var protoPrefix = regexp.MustCompile(`^proto:[\s\x{a0}]*(\(line (\d+):(\d+)\):[\s\x{a0}]*)?`)

// plain takes the library's name out of an error of protojson and puts the place at the end.
func plain(err error) string {
	text := err.Error()
	m := protoPrefix.FindStringSubmatch(text)
	if m == nil {
		return text
	}
	text = strings.TrimPrefix(text, m[0])
	if m[1] != "" {
		text += fmt.Sprintf(" (line %s, column %s)", m[2], m[3])
	}
	return text
}

type pathKey struct{}

// reshape gives the answers that hold records their form: records without empty fields and without
// the wrapper that says which entity they are.
func reshape(ctx context.Context, msg proto.Message) (any, error) {
	switch m := msg.(type) {
	case *rosterv1.ListRecordsResponse:
		requestPath, _ := ctx.Value(pathKey{}).(string)
		return listJSON(path.Base(requestPath), m)
	case *rosterv1.GetRecordResponse:
		return recordJSON(m)
	case *rosterv1.GetRecordHistoryResponse:
		return historyJSON(m)
	}
	return msg, nil
}

// listJSON has the list of the requested entity only, also when it is empty.
func listJSON(entity string, m *rosterv1.ListRecordsResponse) (rawJSON, error) {
	out := []byte(`{` + strconv.Quote(entity) + `:[`)
	var err error
	switch entity {
	case "users":
		out, err = appendAll(out, m.GetUsers())
	case "enrollments":
		out, err = appendAll(out, m.GetEnrollments())
	case "classes":
		out, err = appendAll(out, m.GetClasses())
	case "courses":
		out, err = appendAll(out, m.GetCourses())
	case "academicSessions":
		out, err = appendAll(out, m.GetAcademicSessions())
	case "demographics":
		out, err = appendAll(out, m.GetDemographics())
	case "orgs":
		out, err = appendAll(out, m.GetOrgs())
	default:
		return nil, fmt.Errorf("list records: %q is no entity", entity)
	}
	if err != nil {
		return nil, err
	}
	token, err := json.Marshal(m.GetNextPageToken())
	if err != nil {
		return nil, fmt.Errorf("write a page token: %w", err)
	}
	return fmt.Appendf(out, `],"nextPageToken":%s,"totalSize":%d,"revision":%d}`, token, m.GetTotalSize(), m.GetRevision()), nil
}

func appendAll[M proto.Message](out []byte, records []M) ([]byte, error) {
	for i, r := range records {
		if i > 0 {
			out = append(out, ',')
		}
		text, err := protojson.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("write a record as JSON: %w", err)
		}
		if out, err = appendCompact(out, text); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func appendCompact(out, text []byte) ([]byte, error) {
	buf := bytes.NewBuffer(out)
	if err := json.Compact(buf, text); err != nil {
		return nil, fmt.Errorf("write JSON: %w", err)
	}
	return buf.Bytes(), nil
}

func recordJSON(m *rosterv1.GetRecordResponse) (rawJSON, error) {
	text, err := record.JSON(m.GetRecord())
	if err != nil {
		return nil, err
	}
	out, err := appendCompact([]byte(`{"record":`), text)
	if err != nil {
		return nil, err
	}
	entity, _ := record.Of(m.GetRecord())
	return fmt.Appendf(out, `,"entity":%q,"revision":%d,"fromRevision":%d}`,
		record.EntityName(entity), m.GetRevision(), m.GetFromRevision()), nil
}

func historyJSON(m *rosterv1.GetRecordHistoryResponse) (rawJSON, error) {
	type change struct {
		Field  string `json:"field"`
		Before string `json:"before"`
		After  string `json:"after"`
	}
	type version struct {
		FromRevision int32           `json:"fromRevision"`
		ToRevision   int32           `json:"toRevision"`
		CommitTime   json.RawMessage `json:"commitTime,omitempty"`
		Record       json.RawMessage `json:"record"`
		Fields       []change        `json:"fields"`
	}
	versions := make([]version, 0, len(m.GetVersions()))
	for _, v := range m.GetVersions() {
		text, err := record.JSON(v.GetRecord())
		if err != nil {
			return nil, err
		}
		shown := version{FromRevision: v.GetFromRevision(), ToRevision: v.GetToRevision(), Record: text, Fields: []change{}}
		if v.GetCommitTime() != nil {
			if shown.CommitTime, err = protojson.Marshal(v.GetCommitTime()); err != nil {
				return nil, fmt.Errorf("write a time as JSON: %w", err)
			}
		}
		for _, f := range v.GetFields() {
			shown.Fields = append(shown.Fields, change{f.GetField(), f.GetBefore(), f.GetAfter()})
		}
		versions = append(versions, shown)
	}
	text, err := json.Marshal(map[string]any{"versions": versions})
	if err != nil {
		return nil, fmt.Errorf("write a history as JSON: %w", err)
	}
	return text, nil
}
