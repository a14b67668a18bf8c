package state

import (
	"iter"
	"maps"
	"slices"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
)

// Files are the layer files of one source, by entity name.
type Files struct {
	// Over come before the records of all sources, Fill behind them.
	Over, Base, Fill map[string]*ingestv1.LayerFile
	// Shared stand for those of Base in the roster.
	Shared map[string]*ingestv1.LayerFile
}

// Current are the files of a layer.
func Current(l *ingestv1.LayerDocument) Files {
	return Files{Over: l.GetOver(), Base: l.GetFiles(), Fill: l.GetFill(), Shared: l.GetShared().GetFiles()}
}

// Made are the files that become current when a sync commits.
func Made(s *ingestv1.SyncDocument) Files {
	return Files{Over: s.GetOver(), Base: s.GetLayer(), Fill: s.GetFill(), Shared: s.GetShared().GetFiles()}
}

// All yields every file with its entity, always in the same order.
func (f Files) All() iter.Seq2[string, *ingestv1.LayerFile] {
	return func(yield func(string, *ingestv1.LayerFile) bool) {
		for _, files := range f.Maps() {
			for _, name := range slices.Sorted(maps.Keys(files)) {
				if !yield(name, files[name]) {
					return
				}
			}
		}
	}
}

// Has tells whether a file is among them.
func (f Files) Has(file *ingestv1.LayerFile) bool {
	for _, other := range f.All() {
		if other.GetKey() == file.GetKey() {
			return true
		}
	}
	return false
}

// Maps are those that there are.
func (f Files) Maps() []map[string]*ingestv1.LayerFile {
	return []map[string]*ingestv1.LayerFile{f.Over, f.Base, f.Fill, f.Shared}
}

// In returns the shared file of an entity, or else the one that is shared as it is.
func (f Files) In(entity string) *ingestv1.LayerFile {
	if s := f.Shared[entity]; s != nil {
		return s
	}
	return f.Base[entity]
}
