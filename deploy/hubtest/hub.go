// Package hubtest starts a hub from the built programs in bin/ and speaks to it
// through its outer doors. The same cases and benchmarks run against the single
// binary and against the five programs.
package hubtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// The client that every hub of this package is started with.
const (
	ClientID     = "hubtest"
	ClientSecret = "hubtest-secret-made-up"
)

// Hub is a running hub: one program, or several.
type Hub struct {
	// HTTPURL is the base URL of the gateway, GRPCAddr the address of the
	// services: of all of them in the single binary, of roster-store in a cluster.
	HTTPURL, GRPCAddr string
	// SFTPAddr is where districts drop files.
	SFTPAddr string
	// DataDir outlives Stop, so that a hub can be started on it again.
	DataDir string

	programs []*program
	events   *server.Server // of a cluster
}

// Single starts `securly-sync serve` on dataDir and waits until it is ready.
func Single(ctx context.Context, dataDir string) (*Hub, error) {
	addrs, err := freeAddrs(3)
	if err != nil {
		return nil, err
	}
	h := &Hub{HTTPURL: "http://" + addrs[0], GRPCAddr: addrs[1], SFTPAddr: addrs[2], DataDir: dataDir}
	err = h.start(ctx, "securly-sync", "serve",
		"--data-dir", dataDir, "--http-addr", addrs[0], "--grpc-addr", addrs[1], "--sftp-addr", addrs[2])
	if err != nil {
		return nil, err
	}
	return h, h.waitReady(ctx, h.HTTPURL)
}

// start runs bin/<name> and keeps what it prints for error messages.
func (h *Hub) start(ctx context.Context, name string, args ...string) error {
	bin, err := Binary(name)
	if err != nil {
		return err
	}
	p := &program{name: name, done: make(chan struct{})}
	// The program outlives ctx, which only bounds the start.
	p.cmd = exec.CommandContext(context.WithoutCancel(ctx), bin, args...)
	p.cmd.Env = append(os.Environ(), "SECURLY_SYNC_BOOTSTRAP_CLIENT="+ClientID+":"+ClientSecret)
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", bin, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	h.programs = append(h.programs, p)
	return nil
}

// waitReady waits until /readyz at base answers 200 or a program has ended.
func (h *Hub) waitReady(ctx context.Context, base string) error {
	return Wait(ctx, "hub ready at "+base, func() (bool, error) {
		for _, p := range h.programs {
			select {
			case <-p.done:
				return false, errors.Join(fmt.Errorf("%s ended (%w); it printed:\n%s", p.name, p.err, p.output.String()), h.Stop())
			default:
			}
		}
		res, err := http.Get(base + "/readyz") // bounded by Wait
		if err != nil {
			return false, nil // not listening yet
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK, nil
	})
}

// Stop asks all programs to end, in reverse order of their start, and waits.
func (h *Hub) Stop() error {
	var errs []error
	for i := len(h.programs) - 1; i >= 0; i-- {
		errs = append(errs, h.programs[i].stop(os.Interrupt))
	}
	h.programs = nil
	h.stopEvents()
	return errors.Join(errs...)
}

// Kill ends all programs with SIGKILL, as a power cut would.
func (h *Hub) Kill() {
	for _, p := range h.programs {
		_ = p.stop(os.Kill)
	}
	h.programs = nil
	h.stopEvents()
}

// Restart ends all programs as Kill does and starts them again, with the same
// addresses, on what they have left. The event server of a cluster stays.
func (h *Hub) Restart(ctx context.Context) error {
	killed := h.programs
	h.programs = nil
	for _, p := range killed {
		_ = p.stop(os.Kill)
	}
	for _, p := range killed {
		if err := h.start(ctx, p.name, p.cmd.Args[1:]...); err != nil {
			return err
		}
	}
	return h.waitReady(ctx, h.HTTPURL)
}

func (h *Hub) stopEvents() {
	if h.events != nil {
		h.events.Shutdown()
		h.events.WaitForShutdown()
		h.events = nil
	}
}

// Output returns what the programs have printed so far.
func (h *Hub) Output() string {
	var out strings.Builder
	for _, p := range h.programs {
		out.WriteString(p.output.String())
	}
	return out.String()
}

// PeakMemory returns the largest resident size so far in bytes, summed over the
// programs. It reads /proc and so works on Linux only.
func (h *Hub) PeakMemory() (int64, error) {
	var sum int64
	for _, p := range h.programs {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
		if err != nil {
			return 0, fmt.Errorf("read peak memory of %s: %w", p.name, err)
		}
		_, rest, _ := strings.Cut(string(text), "VmHWM:")
		var kib int64
		if _, err := fmt.Sscan(rest, &kib); err != nil {
			return 0, fmt.Errorf("read peak memory of %s: %w", p.name, err)
		}
		sum += kib << 10
	}
	return sum, nil
}

// ForgetPeak has PeakMemory begin anew with what is used now.
func (h *Hub) ForgetPeak() error {
	for _, p := range h.programs {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0); err != nil {
			return fmt.Errorf("forget the peak memory of %s: %w", p.name, err)
		}
	}
	return nil
}

// CPU returns the processor time that the programs have used so far. On a
// machine that others use too it says more than the clock.
func (h *Hub) CPU() (time.Duration, error) {
	var sum time.Duration
	for _, p := range h.programs {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		if err != nil {
			return 0, fmt.Errorf("read the processor time of %s: %w", p.name, err)
		}
		// Behind the name, which may hold spaces, user and system time are the
		// 12th and 13th field, in hundredths of a second.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		for _, f := range fields[11:13] {
			ticks, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read the processor time of %s: %w", p.name, err)
			}
			sum += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return sum, nil
}

// Binary returns the path of bin/<name>, which `make build` makes.
func Binary(name string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "bin", name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s is not built: run `make build` first: %w", name, err)
	}
	return path, nil
}

// Root returns the folder of go.work above the working directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.work above the working directory: run inside the project")
		}
		dir = parent
	}
}

// Wait polls until done says yes, fails, or ctx ends.
func Wait(ctx context.Context, what string, done func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if err != nil {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
}

// freeAddrs returns n addresses on the loopback that nobody listened on just now.
func freeAddrs(n int) ([]string, error) {
	addrs := make([]string, n)
	for i := range addrs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close() // only at the end, so that no two are the same
		addrs[i] = l.Addr().String()
	}
	return addrs, nil
}

type program struct {
	name   string
	cmd    *exec.Cmd
	output lockedBuffer
	done   chan struct{}
	err    error // of Wait; valid once done is closed
}

func (p *program) stop(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	<-p.done
	if sig != os.Kill && p.err != nil {
		return fmt.Errorf("%s did not end well: %w; it printed:\n%s", p.name, p.err, p.output.String())
	}
	return nil
}

// lockedBuffer is written by a program's output copier and read by tests.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

var _ io.Writer = (*lockedBuffer)(nil)
