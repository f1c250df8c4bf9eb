package global

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"
)

// Etcd says where the rack's state is.
type Etcd struct {
	// Endpoints of an external cluster; none: a server in this process.
	Endpoints []string

	// Of the embedded server.
	Dir   string // its data
	Name  string // among Peers
	Peers string // NAME=http://HOST:PORT, comma separated, this one too; empty: alone
}

// startTime bounds how long etcd may take to be ready.
const startTime = 60 * time.Second

// reachTime bounds the wait for a cluster that somebody else runs.
const reachTime = 15 * time.Second

// openEtcd returns a client and what closes everything.
func openEtcd(ctx context.Context, cfg Etcd) (*clientv3.Client, func(), error) {
	if len(cfg.Endpoints) > 0 {
		c, err := clientv3.New(clientv3.Config{Endpoints: cfg.Endpoints, DialTimeout: startTime, Logger: zap.NewNop()})
		if err != nil {
			return nil, nil, fmt.Errorf("etcd at %v: %w", cfg.Endpoints, err)
		}
		if err := answers(ctx, c); err != nil {
			c.Close()
			return nil, nil, fmt.Errorf("etcd at %v does not answer: %w: check --etcd-endpoints, and that the cluster has a majority", cfg.Endpoints, err)
		}
		return c, func() { c.Close() }, nil
	}
	ec, err := embedded(cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("embedded etcd: %w", err)
	}
	e, err := embed.StartEtcd(ec)
	if err != nil {
		return nil, nil, fmt.Errorf("embedded etcd in %s: %w", cfg.Dir, err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	select {
	case <-e.Server.ReadyNotify():
	case err = <-e.Err():
	case <-ctx.Done():
		err = fmt.Errorf("no majority of %s: %w", cfg.Peers, ctx.Err())
	}
	if err != nil {
		e.Close()
		return nil, nil, fmt.Errorf("embedded etcd in %s: %w", cfg.Dir, err)
	}
	c := v3client.New(e.Server)
	return c, func() { c.Close(); e.Close() }, nil
}

// answers reads from the cluster: a wrong address is told at once, and not by a monitor
// that never leads.
func answers(ctx context.Context, c *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	_, err := c.Get(ctx, keyRack)
	return err
}

// embedded configures the server in this process. Its clients are in this
// process too, so it listens to its peers only, and to nobody if it is alone.
func embedded(cfg Etcd) (*embed.Config, error) {
	ec := embed.NewConfig()
	ec.Dir, ec.Name = filepath.Join(cfg.Dir, "etcd"), cfg.Name
	if ec.Name == "" {
		ec.Name = "global"
	}
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	ec.ListenClientUrls, ec.AdvertiseClientUrls = nil, nil
	ec.AutoCompactionMode, ec.AutoCompactionRetention = "periodic", "1h"
	ec.QuotaBackendBytes = 8 << 30
	ec.MaxTxnOps = maxOps
	if cfg.Peers == "" {
		ec.ListenPeerUrls = nil
		ec.InitialCluster = ec.InitialClusterFromName(ec.Name)
		return ec, nil
	}
	ec.InitialCluster = cfg.Peers
	self, err := peerURL(cfg.Peers, ec.Name)
	if err != nil {
		return nil, err
	}
	ec.ListenPeerUrls, ec.AdvertisePeerUrls = []url.URL{self}, []url.URL{self}
	return ec, nil
}
