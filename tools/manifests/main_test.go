package main

import (
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// base is deploy/kubernetes/base in memory, with a text of one file replaced.
func base(t *testing.T, file, from, to string) filesys.FileSystem {
	t.Helper()
	in := filesys.MakeFsInMemory()
	for _, name := range []string{"kustomization.yaml", "daemonset.yaml", "node.rules"} {
		text, err := os.ReadFile("../../deploy/kubernetes/base/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if name == file {
			if strings.Count(string(text), from) != 1 {
				t.Fatalf("%q does not stand once in %s", from, name)
			}
			text = []byte(strings.Replace(string(text), from, to, 1))
		}
		if err := in.WriteFile("base/"+name, text); err != nil {
			t.Fatal(err)
		}
	}
	return in
}

// TestWrong: what is wrong with manifests is found.
func TestWrong(t *testing.T) {
	for _, tt := range []struct{ file, from, to, want string }{
		{"daemonset.yaml", "hostNetwork: true", "hostNetworks: true", `unknown field "hostNetworks"`},
		{"daemonset.yaml", "hostNetwork: true", "hostNetwork: yes please", "cannot unmarshal string"},
		{"daemonset.yaml", "hostNetwork: true", "hostNetwork: true\n      hostPID: true", "and no other"},
		{"daemonset.yaml", "privileged: false", "privileged: true", "privileged"},
		{"daemonset.yaml", `"PERFMON"]`, `"PERFMON", "SYS_ADMIN"]`, "not all but"},
		{"daemonset.yaml", `"--follow", `, "", "not followed"},
		{"daemonset.yaml", "mountPath: /etc/repacket", "mountPath: /etc/repacket\n              subPath: node.rules", "never changes"},
		{"daemonset.yaml", "            name: repacket-rules", "            name: other", "not one of the ConfigMaps"},
		{"node.rules", "dns:", strings.Repeat("# 2 MiB\n", 2<<20/8) + "dns:", "bytes of rules, and Kubernetes keeps 1048576 in a ConfigMap"},
	} {
		if _, err := check(base(t, tt.file, tt.from, tt.to), "base"); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q for %q: %.300v", tt.to, tt.from, err)
		}
	}
}
