package durable

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/memblob"
)

func TestWriter(t *testing.T) {
	dir := t.TempDir()
	files, err := fileblob.OpenBucket(dir, &fileblob.Options{NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
	require.NoError(t, err)
	for name, bucket := range map[string]*blob.Bucket{"folder": files, "object store": memblob.OpenBucket(nil)} {
		t.Run(name, func(t *testing.T) {
			w, err := Create(t.Context(), bucket, "a/b", "text/plain")
			require.NoError(t, err)
			_, err = w.Write([]byte("hello"))
			require.NoError(t, err)
			there, err := bucket.Exists(t.Context(), "a/b")
			require.NoError(t, err)
			require.False(t, there)
			require.NoError(t, w.Close())
			w.Abort()
			text, err := bucket.ReadAll(t.Context(), "a/b")
			require.NoError(t, err)
			require.Equal(t, "hello", string(text))

			w, err = Create(t.Context(), bucket, "a/c", "text/plain")
			require.NoError(t, err)
			_, err = w.Write([]byte("hello"))
			require.NoError(t, err)
			w.Abort()
			there, err = bucket.Exists(t.Context(), "a/c")
			require.NoError(t, err)
			require.False(t, there)

			ctx, cancel := context.WithCancel(t.Context())
			w, err = Create(ctx, bucket, "a/d", "text/plain")
			require.NoError(t, err)
			cancel()
			require.Error(t, w.Close())
			require.NoError(t, bucket.Close())
		})
	}
	left, err := os.ReadDir(dir + "/a")
	require.NoError(t, err)
	require.Len(t, left, 1)
}
