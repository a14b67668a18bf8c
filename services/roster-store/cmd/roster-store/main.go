// Command roster-store keeps every version of every record of every district.
package main

import (
	"context"
	"path/filepath"

	"github.com/securly/sync/services/platform/lifecycle"
	"github.com/securly/sync/services/platform/process"
	rosterstore "github.com/securly/sync/services/roster-store"
)

func main() {
	process.Main(process.Program{
		Name:  "roster-store",
		Short: "Keeps every version of every record of every district",
		Build: build,
	})
}

func build(ctx context.Context, env *process.Env) (process.Parts, error) {
	bus, err := env.Bus(ctx)
	if err != nil {
		return process.Parts{}, err
	}
	service, err := rosterstore.New(
		rosterstore.Config{
			MongoDB:  env.Settings.MongoDBURI,
			DataDir:  filepath.Join(env.Settings.DataDir, "rosters"),
			TokenKey: []byte(env.Settings.ServiceSecret.Reveal()),
		},
		rosterstore.Deps{Bus: bus, Log: env.Log})
	if err != nil {
		return process.Parts{}, err
	}
	env.Opened.Push("rosters", service.Close)
	return process.Parts{
		Register: service.Register,
		Run:      []lifecycle.Component{{Name: "roster-store", Run: service.Run}},
	}, nil
}
