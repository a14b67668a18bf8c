package layer

import (
	"bytes"
	"iter"
)

// Mix yields the entries of next, but those of was for the ids in back, in order
// too, whether next has them or not.
func Mix(next, was iter.Seq2[Entry, error], back iter.Seq2[string, error]) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		nextBack, stop := iter.Pull2(back)
		defer stop()
		nextWas, stopWas := iter.Pull2(was)
		defer stopWas()
		old, err, moreWas := nextWas()
		// restore yields what there was of an id.
		restore := func(id []byte) bool {
			for err == nil && moreWas && bytes.Compare(old.ID, id) < 0 {
				old, err, moreWas = nextWas()
			}
			return err != nil || !moreWas || !bytes.Equal(old.ID, id) || yield(old, nil)
		}
		id, backErr, moreBack := nextBack()
		// before restores the ids before one, or all that are left.
		before := func(end []byte) bool {
			for backErr == nil && err == nil && moreBack && (end == nil || bytes.Compare([]byte(id), end) < 0) {
				if !restore([]byte(id)) {
					return false
				}
				id, backErr, moreBack = nextBack()
			}
			return true
		}
		fails := func() bool {
			if err == nil {
				err = backErr
			}
			if err != nil {
				yield(Entry{}, err)
			}
			return err != nil
		}
		for e, nextErr := range next {
			if nextErr != nil {
				err = nextErr
			}
			if fails() || !before(e.ID) || fails() {
				return
			}
			if moreBack && id == string(e.ID) {
				continue // restored when its turn comes, unless there was nothing
			}
			if !yield(e, nil) {
				return
			}
		}
		if before(nil) {
			fails()
		}
	}
}
