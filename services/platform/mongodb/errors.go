package mongodb

import (
	"errors"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/mongo"
)

// Wordless returns err without the words of the server, which may repeat what is
// in a document: its key where two collide, for example. Codes stay, and so does
// what errors.Is and errors.As find. Every error of the driver passes through it
// before anything is written around it.
func Wordless(err error) error {
	var said mongo.ServerError
	if !errors.As(err, &said) {
		return err
	}
	codes := slices.DeleteFunc(said.ErrorCodes(), func(code int) bool { return code == 0 })
	if len(codes) == 0 {
		return err // It is of the connection, not of the server.
	}
	slices.Sort(codes)
	e := wordless{cause: err, text: fmt.Sprintf("MongoDB answers with error %d", slices.Compact(codes))}
	var command mongo.CommandError
	if errors.As(err, &command) && command.Name != "" {
		e.text += " " + command.Name
	}
	return e
}

type wordless struct {
	cause error
	text  string
}

func (e wordless) Error() string { return e.text }
func (e wordless) Unwrap() error { return e.cause }
