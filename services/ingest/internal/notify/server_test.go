package notify

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/services/platform/testkit"
	"github.com/securly/sync/services/platform/testkit/smtpd"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestMailServerAddresses(t *testing.T) {
	for _, test := range []struct{ name, address, from, message string }{
		{"no address", "mail.example", "hub@made-up.example", "is not one"},
		{"another scheme", "https://mail.example", "hub@made-up.example", "smtp and smtps are known"},
		{"no sender", "smtp://mail.example", "hub", "no e-mail address"},
		{"a password in the clear", "smtp://hub:hidden@mail.example?tls=none", "hub@made-up.example", "in clear text"},
		{"a port that is none", "smtp://hub:hidden@mail.example:mail", "hub@made-up.example", "is not one"},
		{"STARTTLS", "smtp://hub:hidden@mail.example", "hub@made-up.example", ""},
		{"TLS", "smtps://hub:hidden@mail.example", "hub@made-up.example", ""},
		{"a relay", "smtp://10.0.0.1?tls=none", "hub@made-up.example", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := NewServer(test.address, test.from)
			if test.message == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.message)
			require.NotContains(t, err.Error(), "hidden")
		})
	}
}

// A server that offers no encryption, or one that is not known, gets nothing.
func TestNothingIsSentInTheClear(t *testing.T) {
	mail := Mail{ID: "1", To: "it@made-up.example", Subject: "x", Text: "y", Time: time.Now()}
	plain := smtpd.Start(t)
	s, err := NewServer(plain.URL[:len(plain.URL)-len("?tls=none")], "hub@made-up.example")
	require.NoError(t, err)
	require.ErrorContains(t, s.Send(t.Context(), mail), "STARTTLS")
	require.Empty(t, plain.Mails())

	unknown := smtpd.StartTLS(t)
	s, err = NewServer(unknown.URL, "hub@made-up.example")
	require.NoError(t, err)
	require.ErrorContains(t, s.Send(t.Context(), mail), "certificate")
	require.Empty(t, unknown.Mails())
}
