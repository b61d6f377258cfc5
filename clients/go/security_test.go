package holdfast_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"os/exec"
	"testing"
	"time"

	holdfast "github.com/holdfast-dev/holdfast/clients/go"
)

func TestATokenIsAsked(t *testing.T) {
	s := start(t)
	made := exec.Command(binary(), "token", "create", "--data-dir", s.dir, "--namespace", "ci")
	printed, err := made.Output()
	if err != nil {
		t.Fatal(err)
	}
	token := string(bytes.TrimSpace(printed))
	eventually(t, "the server asks for tokens", func() bool {
		client, err := holdfast.Dial(soon(t), s.address)
		if err == nil {
			client.Close()
		}
		return errors.Is(err, holdfast.ErrUnauthenticated)
	})
	client := s.client(holdfast.WithToken(token))
	release(t, acquire(t, client.Lock("x")))
	if _, err := client.Lock("x").ForceRelease(soon(t)); !errors.Is(err, holdfast.ErrPermissionDenied) {
		t.Fatalf("got %v", err)
	}
}

// certificate is one for loopback, signed by itself.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		NotAfter:              time.Now().Add(time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	read, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(read)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

func TestTLSIsSpokenAndTheCertificateChecked(t *testing.T) {
	s := start(t)
	own, roots := certificate(t)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{own},
		NextProtos:   []string{"h2"},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    roots,
	})
	if err != nil {
		t.Fatal(err)
	}
	between := proxyOn(t, listener, s.address)

	trusting := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}}
	client := dial(t, "https://"+between.address(), holdfast.WithTLS(trusting))
	release(t, acquire(t, client.Lock("x")))
	for _, config := range []*tls.Config{nil, {RootCAs: roots}} {
		_, err := holdfast.Dial(soon(t), between.address(), holdfast.WithTLS(config), holdfast.WithDialTimeout(300*time.Millisecond))
		if !errors.Is(err, holdfast.ErrUnavailable) {
			t.Fatalf("got %v", err)
		}
	}
}
