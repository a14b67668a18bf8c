package connector

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
)

// Description is a connector's entry in the catalogue.
type Description struct {
	*ingestv1.Connector
	// Endpoint names the settings that say where secrets are sent. Secrets do not
	// outlive a change of them, so that nobody can have them sent elsewhere who
	// does not know them.
	Endpoint []string
	schema   *jsonschema.Schema
}

// Describe reads the text of a connector.json, the JSON of ingest.v1.Connector.
// It panics if there is a fault in it, since it is a constant of the program.
func Describe(text []byte, endpoint ...string) *Description {
	d := &Description{Connector: &ingestv1.Connector{}, Endpoint: endpoint}
	if err := protojson.Unmarshal(text, d.Connector); err != nil {
		panic(fmt.Sprintf("connector.json: %v", err))
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("settings.json", d.GetSettingsSchema().AsMap()); err != nil {
		panic(fmt.Sprintf("settings of %s: %v", d.GetConnectorId(), err))
	}
	d.schema = c.MustCompile("settings.json")
	return d
}

// CheckSettings checks settings against the schema. The error is about field,
// or about the settings as such if that is empty.
func (d *Description) CheckSettings(settings *structpb.Struct) (field string, err error) {
	err = d.schema.Validate(settings.AsMap())
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return "", err
	}
	for len(invalid.Causes) > 0 {
		invalid = invalid.Causes[0]
	}
	field = strings.Join(invalid.InstanceLocation, ".")
	switch k := invalid.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		slices.Sort(k.Properties)
		return k.Properties[0], errors.New("there is no such setting; the connector's settingsSchema lists them")
	case *kind.Required:
		return k.Missing[0], errors.New("is required")
	}
	return field, errors.New(invalid.ErrorKind.LocalizedString(message.NewPrinter(language.English)))
}

// CheckSecrets checks the names and sizes of secrets. The error never quotes one.
func (d *Description) CheckSecrets(secrets map[string]string) (name string, err error) {
	for name, value := range secrets {
		switch {
		case !slices.ContainsFunc(d.GetSecrets(), func(f *ingestv1.SecretField) bool { return f.GetName() == name }):
			return name, errors.New("there is no such secret; the connector's secrets lists them")
		case len(value) > maxSecret:
			return name, fmt.Errorf("must not be longer than %d bytes", maxSecret)
		}
	}
	return "", nil
}

// maxSecret leaves room for every kind of private key.
const maxSecret = 32 << 10

// Moved tells whether secrets that go with the settings before would be sent
// elsewhere with those after.
func (d *Description) Moved(before, after *structpb.Struct) bool {
	return slices.ContainsFunc(d.Endpoint, func(name string) bool {
		return before.AsMap()[name] != after.AsMap()[name]
	})
}

// Settings of a source.
type Settings struct{ *structpb.Struct }

// Decode reads settings into a struct with JSON names. Fields without a setting
// keep the values they have.
func (s Settings) Decode(into any) error {
	text, err := s.MarshalJSON()
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	return nil
}
