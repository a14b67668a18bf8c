// Package config fills flags: from the command line, else from the environment,
// else from a file, else their defaults. A program's flags are its whole
// configuration; there is no second list of keys.
package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

const (
	envPrefix = "SECURLY_SYNC_"
	fileFlag  = "config"
)

// AddFlag adds --config, which names the file.
func AddFlag(flags *pflag.FlagSet) {
	flags.String(fileFlag, "", "`file` with settings (YAML, the keys are the names of the flags)")
}

// Env returns the environment variable of a flag: SECURLY_SYNC_GRPC_ADDR for
// "grpc-addr".
func Env(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Load sets every flag that the command line has not set from lookupEnv
// (os.LookupEnv) or from the file. Keys of the file that are no flags are
// errors, all reported at once. Environment variables that are no flags are
// not: Kubernetes adds some with our prefix.
func Load(flags *pflag.FlagSet, lookupEnv func(string) (string, bool)) error {
	var failed []error
	// First the environment, which may also name the file.
	flags.VisitAll(func(f *pflag.Flag) {
		if value, ok := lookupEnv(Env(f.Name)); ok && !f.Changed {
			if err := flags.Set(f.Name, value); err != nil {
				failed = append(failed, fmt.Errorf("environment variable %s: %w", Env(f.Name), hidden(f, err)))
			}
		}
	})
	if f := flags.Lookup(fileFlag); f != nil && f.Value.String() != "" {
		failed = append(failed, loadFile(flags, f.Value.String()))
	}
	return errors.Join(failed...)
}

func loadFile(flags *pflag.FlagSet, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	var settings map[string]yaml.Node
	if err := yaml.Unmarshal(text, &settings); err != nil {
		return fmt.Errorf("read configuration %s: %w", path, err)
	}
	var failed []error
	for key, node := range settings {
		f := flags.Lookup(key)
		if f == nil || key == fileFlag {
			failed = append(failed, fmt.Errorf("%s:%d: unknown setting %q", path, node.Line, key))
			continue
		}
		if f.Changed {
			continue
		}
		if err := setNode(f, &node); err != nil {
			failed = append(failed, fmt.Errorf("%s:%d: setting %q: %w", path, node.Line, key, hidden(f, err)))
			continue
		}
		f.Changed = true
	}
	// Maps have no order; messages should.
	slices.SortFunc(failed, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(failed...)
}

func setNode(f *pflag.Flag, node *yaml.Node) error {
	if list, ok := f.Value.(pflag.SliceValue); ok && node.Kind == yaml.SequenceNode {
		var values []string
		if err := node.Decode(&values); err != nil {
			return err
		}
		return list.Replace(values)
	}
	if node.Kind != yaml.ScalarNode {
		return fmt.Errorf("must be a single value")
	}
	return f.Value.Set(node.Value)
}

// hidden keeps the value of a secret out of an error.
func hidden(f *pflag.Flag, err error) error {
	if _, ok := f.Value.(*Secret); ok {
		return errors.New("is not valid")
	}
	return err
}

// Secret is text that cannot be printed by accident. As a flag:
// flags.Var(&secret, "service-secret", usage).
type Secret string

const redacted = "redacted"

// Reveal returns the text itself.
func (s Secret) Reveal() string { return string(s) }

// String returns "redacted", or "" if there is no secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString is String for %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText is String for JSON, YAML and slog.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Set and Type make *Secret a flag.
func (s *Secret) Set(text string) error {
	*s = Secret(text)
	return nil
}

// Type is the word for the value in the help text.
func (s *Secret) Type() string { return "secret" }
