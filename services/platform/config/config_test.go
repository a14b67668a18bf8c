package config_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/securly/sync/services/platform/config"
)

type settings struct {
	addr   string
	grace  time.Duration
	limit  int
	tls    bool
	hosts  []string
	secret config.Secret
}

// load loads from the command line, the environment and the text of a file.
func load(t *testing.T, args []string, env map[string]string, file string) (settings, error) {
	t.Helper()
	var s settings
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AddFlag(flags)
	flags.StringVar(&s.addr, "grpc-addr", ":9090", "")
	flags.DurationVar(&s.grace, "grace", time.Second, "")
	flags.IntVar(&s.limit, "limit", 1, "")
	flags.BoolVar(&s.tls, "tls", false, "")
	flags.StringSliceVar(&s.hosts, "host", nil, "")
	flags.Var(&s.secret, "service-secret", "")
	if file != "" {
		path := filepath.Join(t.TempDir(), "config.yaml")
		require.NoError(t, os.WriteFile(path, []byte(file), 0o600))
		args = append(args, "--config", path)
	}
	require.NoError(t, flags.Parse(args))
	err := config.Load(flags, func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	})
	return s, err
}

func TestPrecedence(t *testing.T) {
	flag := []string{"--grpc-addr=flag"}
	env := map[string]string{"SECURLY_SYNC_GRPC_ADDR": "env"}
	const file = "grpc-addr: file"
	for name, test := range map[string]struct {
		args []string
		env  map[string]string
		file string
		want string
	}{
		"default":             {nil, nil, "", ":9090"},
		"file":                {nil, nil, file, "file"},
		"environment":         {nil, env, file, "env"},
		"flag":                {flag, env, file, "flag"},
		"flag, no file":       {flag, env, "", "flag"},
		"empty environment":   {nil, map[string]string{"SECURLY_SYNC_GRPC_ADDR": ""}, file, ""},
		"foreign environment": {nil, map[string]string{"SECURLY_SYNC_PORT": "tcp://10.0.0.1:80", "GRPC_ADDR": "x"}, file, "file"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := load(t, test.args, test.env, test.file)
			require.NoError(t, err)
			require.Equal(t, test.want, got.addr)
		})
	}
}

func TestTypes(t *testing.T) {
	got, err := load(t, nil, map[string]string{"SECURLY_SYNC_SERVICE_SECRET": "hunter2"}, `
grace: 1m30s
limit: 0x10
tls: yes
host: [a.example, "b,c"]
`)
	require.Error(t, err, "YAML 1.1 booleans are no booleans")
	require.ErrorContains(t, err, `:4: setting "tls"`)
	require.Equal(t, settings{addr: ":9090", grace: 90 * time.Second, limit: 16, hosts: []string{"a.example", "b,c"}, secret: "hunter2"}, got)

	got, err = load(t, nil, nil, "tls: true\nhost: a.example,b.example\n")
	require.NoError(t, err)
	require.True(t, got.tls)
	require.Equal(t, []string{"a.example", "b.example"}, got.hosts)
}

func TestMistakesAreReportedTogether(t *testing.T) {
	_, err := load(t, nil, map[string]string{"SECURLY_SYNC_GRACE": "soon"}, `
grpc-adr: ":1"
limit: many
config: other.yaml
service-secret: {hunter2: hunter3}
`)
	require.Error(t, err)
	for _, part := range []string{
		"SECURLY_SYNC_GRACE", `:2: unknown setting "grpc-adr"`, `:3: setting "limit"`,
		`:4: unknown setting "config"`, `:5: setting "service-secret": is not valid`,
	} {
		require.ErrorContains(t, err, part)
	}
	require.NotContains(t, err.Error(), "hunter")
}

func TestFileThatCannotBeRead(t *testing.T) {
	_, err := load(t, nil, nil, "- a\n- list\n")
	require.ErrorContains(t, err, "config.yaml")
	_, err = load(t, []string{"--config", filepath.Join(t.TempDir(), "missing.yaml")}, nil, "")
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = load(t, nil, map[string]string{"SECURLY_SYNC_CONFIG": "missing.yaml"}, "")
	require.ErrorIs(t, err, os.ErrNotExist, "the environment may name the file")
}

func TestSecretDoesNotPrint(t *testing.T) {
	s := config.Secret("hunter2")
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", s, "in", struct{ S config.Secret }{s})
	text, err := json.Marshal(map[string]any{"secret": s})
	require.NoError(t, err)
	for _, printed := range []string{
		fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q", s, s, s, s, s), fmt.Sprintf("%x", s), fmt.Sprint(struct{ S config.Secret }{s}), string(text), log.String(),
	} {
		require.NotContains(t, printed, "hunter2")
		require.NotContains(t, printed, "68756e74657232") // In hexadecimal.
	}
	require.Equal(t, "hunter2", s.Reveal())
	require.Empty(t, config.Secret("").String(), "no secret is not a secret")
}
