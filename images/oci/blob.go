package oci

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"splitvm/images/store"
)

type readCloser = io.ReadCloser

// opener opens a compressed layer from an offset on, as store.Blob.Open.
type opener = func(ctx context.Context, offset int64) (readCloser, int64, error)

// getBlob asks a registry for a blob from the offset on (distribution-spec,
// "Pulling blobs"). A registry that knows no ranges sends all of it; some know
// only those with both ends.
func getBlob(ctx context.Context, rt http.RoundTripper, repo name.Repository, blob v1.Descriptor, offset int64) (readCloser, int64, error) {
	u := url.URL{Scheme: repo.Scheme(), Host: repo.RegistryStr(), Path: fmt.Sprintf("/v2/%s/blobs/%s", repo.RepositoryStr(), blob.Digest)}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept-Encoding", "identity") // what is compressed on the way has no digest
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, blob.Size-1))
	}
	client := http.Client{Transport: rt}
	resp, err := client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && offset > 0 {
		resp.Body.Close()
		return getBlob(ctx, rt, repo, blob, 0)
	}
	if err := transport.CheckError(resp, http.StatusOK, http.StatusPartialContent); err != nil {
		resp.Body.Close()
		if t, ok := err.(*transport.Error); ok && !t.Temporary() {
			err = store.Permanent{Err: err}
		}
		return nil, 0, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, 0, nil
	}
	from, err := rangeStart(resp.Header.Get("Content-Range"))
	if err != nil {
		resp.Body.Close()
	}
	return resp.Body, from, err
}

func rangeStart(header string) (int64, error) {
	var from, to int64
	if _, err := fmt.Sscanf(header, "bytes %d-%d", &from, &to); err != nil || from < 0 {
		return 0, fmt.Errorf("the registry answered with the range %q", header)
	}
	return from, nil
}
