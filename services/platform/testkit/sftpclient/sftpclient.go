// Package sftpclient runs OpenSSH's sftp for tests, as a district's export would.
package sftpclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// Client is one who drops files.
type Client struct {
	// Port on 127.0.0.1.
	Port int
	User string
	// Password, or Key: a private key in OpenSSH form.
	Password, Key string
	// Fingerprint that the server must have, as SHA256:….
	Fingerprint string
	// Args are put before all others.
	Args []string
}

// Run gives commands to the client, which ends at the first that fails unless
// that begins with a hyphen. It returns what the client prints. The client and
// all that it has started are killed when ctx ends.
func (c *Client) Run(ctx context.Context, t testing.TB, commands ...string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), mode))
		return path
	}
	known := filepath.Join(dir, "known_hosts")
	args := append([]string{}, c.Args...)
	for _, o := range []string{
		"BatchMode=no", "NumberOfPasswordPrompts=1", "StrictHostKeyChecking=accept-new", "HashKnownHosts=no", "IdentitiesOnly=yes",
		"UserKnownHostsFile=" + known, "GlobalKnownHostsFile=/dev/null", "UpdateHostKeys=no", "ConnectTimeout=20", "LogLevel=ERROR",
	} {
		args = append(args, "-o", o)
	}
	way := "password"
	if c.Key != "" {
		way = "publickey"
		args = append(args, "-i", write("key", c.Key, 0o600))
	}
	args = append(args, "-o", "PreferredAuthentications="+way, "-F", "none", "-P", strconv.Itoa(c.Port),
		"-b", write("commands", strings.Join(commands, "\n")+"\n", 0o600), c.User+"@127.0.0.1")
	cmd := exec.CommandContext(ctx, "sftp", args...) //nolint:gosec // arguments of the tests
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "SSH_ASKPASS_REQUIRE=force", "SSH_AUTH_SOCK=", "TEST_PASSWORD="+c.Password,
		"SSH_ASKPASS="+write("askpass", "#!/bin/sh\nprintf '%s\\n' \"$TEST_PASSWORD\"\n", 0o700))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // sftp runs ssh
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	require.NotErrorIs(t, err, exec.ErrNotFound, "OpenSSH's client is needed: apt-get install openssh-client")
	if err == nil {
		text, err := os.ReadFile(known)
		require.NoError(t, err)
		_, _, key, _, _, err := ssh.ParseKnownHosts(text)
		require.NoError(t, err)
		require.Equal(t, c.Fingerprint, ssh.FingerprintSHA256(key))
		return out.String(), nil
	}
	return out.String(), fmt.Errorf("sftp: %w: %s", errors.Join(ctx.Err(), err), out.String())
}
