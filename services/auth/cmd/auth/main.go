// Command auth signs access tokens and keeps clients, sign-in links and browser sessions.
package main

import (
	"context"

	"github.com/spf13/pflag"

	"github.com/securly/sync/services/auth"
	"github.com/securly/sync/services/platform/config"
	"github.com/securly/sync/services/platform/lifecycle"
	"github.com/securly/sync/services/platform/process"
)

func main() {
	var bootstrap config.Secret
	process.Main(process.Program{
		Name:  "auth",
		Short: "Signs access tokens and keeps clients and sessions",
		Flags: func(f *pflag.FlagSet) {
			f.Var(&bootstrap, "bootstrap-client", "id:secret of a client with every scope on all districts, created once")
		},
		Build: func(_ context.Context, env *process.Env) (process.Parts, error) {
			docs, err := env.Docs()
			if err != nil {
				return process.Parts{}, err
			}
			service, err := auth.New(
				auth.Config{BootstrapClient: bootstrap, ServiceSecret: env.Settings.ServiceSecret},
				auth.Deps{Docs: docs, Log: env.Log})
			if err != nil {
				return process.Parts{}, err
			}
			return process.Parts{
				Register: service.Register,
				Keys:     service.Keys,
				Run:      []lifecycle.Component{{Name: "auth", Run: service.Run}},
			}, nil
		},
	})
}
