package oci

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"splitvm/images/layer"
	"splitvm/images/store"
)

// Options say how an image is added.
type Options struct {
	Name      string       // instead of the name that it has where it comes from
	PlainHTTP bool         // the registry has no TLS; those on this host never need it
	Limits    layer.Limits // of the layers
	Progress  Progress     // may be nil
}

// Progress is told how an image gets here. Its methods are called by several
// goroutines at once.
type Progress interface {
	Layer(digest v1.Hash, done, total int64) // so much of a layer is here
	Step(what string)                        // a step has begun
}

type noProgress struct{}

func (noProgress) Layer(v1.Hash, int64, int64) {}
func (noProgress) Step(string)                 {}

func (o Options) progress() Progress {
	if o.Progress == nil {
		return noProgress{}
	}
	return o.Progress
}

// platform is what guests are.
var platform = v1.Platform{OS: "linux", Architecture: "amd64"}

// handshake is how long a registry may take to answer a request; layers take as
// long as they keep coming.
const handshake = 30 * time.Second

// Pull fetches an image from a registry.
func Pull(ctx context.Context, s *store.Store, reference string, o Options) (store.Image, error) {
	i, err := pull(ctx, s, reference, o)
	if err != nil {
		return i, fmt.Errorf("pull %s: %w", reference, explain(err))
	}
	return i, nil
}

func pull(ctx context.Context, s *store.Store, reference string, o Options) (store.Image, error) {
	ref, err := parse(reference, o.PlainHTTP)
	if err != nil {
		return store.Image{}, err
	}
	registry, err := dial(ctx, ref)
	if err != nil {
		return store.Image{}, err
	}
	o.progress().Step("looking up " + Short(ref.Name()))
	image, err := remote.Image(ref, remote.WithContext(ctx), remote.WithTransport(registry), remote.WithPlatform(platform))
	if err != nil {
		return store.Image{}, err
	}
	if o.Name == "" {
		o.Name = ref.Name()
	}
	open := func(_ v1.Layer, blob v1.Descriptor) opener {
		return func(ctx context.Context, offset int64) (readCloser, int64, error) {
			return getBlob(ctx, registry, ref.Context(), blob, offset)
		}
	}
	return add(ctx, s, image, ref.Name(), open, o)
}

// dial makes a transport that is logged in at the reference's registry, as the
// user's docker configuration says.
func dial(ctx context.Context, ref name.Reference) (http.RoundTripper, error) {
	auth, err := authn.Resolve(ctx, authn.DefaultKeychain, ref.Context())
	if err != nil {
		return nil, err
	}
	base := remote.DefaultTransport.(*http.Transport).Clone()
	base.ResponseHeaderTimeout = handshake
	return transport.NewWithContext(ctx, ref.Context().Registry, auth, transport.NewRetry(base), []string{ref.Scope(transport.PullScope)})
}

// explain says what to do about the usual errors.
func explain(err error) error {
	var t *transport.Error
	if !errors.As(err, &t) {
		return err
	}
	switch t.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w: is the name right? For a private image, log in with `docker login` or `podman login` (splitvm reads their files)", err)
	case http.StatusNotFound:
		return fmt.Errorf("%w: the registry has no such image or tag", err)
	}
	return err
}
