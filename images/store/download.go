package store

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"
)

const (
	stallTime = time.Minute // without a byte, after which a connection counts as dead
	maxTries  = 5           // without a byte between them
	retryWait = 500 * time.Millisecond
)

// Permanent is an error of Blob.Open that another try won't mend.
type Permanent struct{ Err error }

func (p Permanent) Error() string { return p.Err.Error() }
func (p Permanent) Unwrap() error { return p.Err }

// download completes a file.
type download struct {
	f        *os.File
	blob     Blob
	progress func(int64)
	hash     hash.Hash
	done     int64 // bytes that are in the file, and went into hash
}

// complete fetches what is missing, and checks the digest.
func (d *download) complete(ctx context.Context) error {
	n, err := io.Copy(d.hash, &whileContext{ctx, d.f})
	if err != nil {
		return err
	}
	d.done = n
	for tries := 0; d.done < d.blob.Size; {
		before := d.done
		err := d.fetch(ctx)
		if err == nil {
			break
		}
		if tries++; d.done > before {
			tries = 0
		}
		if tries >= maxTries || errors.As(err, new(Permanent)) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retryWait << tries):
		}
	}
	if got := sum(d.hash); d.done != d.blob.Size || got != d.blob.Digest {
		return fmt.Errorf("%d bytes of %v, and not %d: %w", d.done, got, d.blob.Size, ErrDigest)
	}
	return nil
}

// fetch takes what one request gives.
func (d *download) fetch(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(stallTime, func() { cancel(fmt.Errorf("no byte within %v", stallTime)) })
	defer stall.Stop()
	body, from, err := d.blob.Open(ctx, d.done)
	if err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	if err := d.rewind(from); err != nil {
		return err
	}
	buf := make([]byte, 256<<10)
	for d.done < d.blob.Size {
		n, rerr := body.Read(buf[:min(int64(len(buf)), d.blob.Size-d.done)])
		stall.Reset(stallTime)
		if _, err := d.f.Write(buf[:n]); err != nil {
			return err
		}
		d.hash.Write(buf[:n])
		d.done += int64(n)
		if d.progress != nil {
			d.progress(d.done)
		}
		switch {
		case errors.Is(rerr, io.EOF) && d.done < d.blob.Size:
			return io.ErrUnexpectedEOF
		case rerr != nil && !errors.Is(rerr, io.EOF):
			return errors.Join(rerr, context.Cause(ctx))
		}
	}
	return nil
}

// rewind prepares for an answer that begins at from.
func (d *download) rewind(from int64) error {
	switch from {
	case d.done:
		return nil
	case 0:
		d.done = 0
		d.hash.Reset()
		if err := d.f.Truncate(0); err != nil {
			return err
		}
		_, err := d.f.Seek(0, io.SeekStart)
		return err
	}
	return fmt.Errorf("asked for the file from byte %d, and got it from %d", d.done, from)
}
