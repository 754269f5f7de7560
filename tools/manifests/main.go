// Manifests builds the manifests of deploy/kubernetes by kustomize's own library and decodes them
// strictly into the types of Kubernetes's API. It is a module of its own, so that nothing of theirs
// reaches the program.
package main

import (
	"errors"
	"fmt"
	"os"
	"slices"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// maxConfigMap is how large the content of a ConfigMap may be: MaxSecretSize in
// pkg/apis/core/types.go of Kubernetes, which holds for both.
const maxConfigMap = 1 << 20

func main() {
	for _, folder := range os.Args[1:] {
		n, err := check(filesys.MakeFsOnDisk(), folder)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", folder, err)
			os.Exit(1)
		}
		fmt.Printf("%s: %d manifests built and decoded\n", folder, n)
	}
}

// check builds the kustomization of a folder and judges what comes out, and returns how much that is.
func check(in filesys.FileSystem, folder string) (n int, err error) {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(in, folder)
	if err != nil {
		return 0, err
	}
	var set *apps.DaemonSet
	rules := map[string]bool{}
	for _, r := range built.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			return 0, err
		}
		switch kind := r.GetGvk().String(); kind {
		case "DaemonSet.v1.apps":
			set = new(apps.DaemonSet)
			err = yaml.UnmarshalStrict(text, set)
		case "ConfigMap.v1.[noGrp]":
			var c core.ConfigMap
			if err = yaml.UnmarshalStrict(text, &c); err == nil {
				rules[c.Name] = true
				err = small(c)
			}
		default:
			err = fmt.Errorf("nobody expects one")
		}
		if err != nil {
			return 0, fmt.Errorf("%s %s: %w", r.GetGvk(), r.GetName(), err)
		}
	}
	if set == nil {
		return 0, errors.New("there is no DaemonSet")
	}
	return built.Size(), judge(set, rules)
}

// small reports as an error that Kubernetes would refuse a ConfigMap for its size.
func small(c core.ConfigMap) error {
	size := 0
	for _, text := range c.Data {
		size += len(text)
	}
	if size > maxConfigMap {
		return fmt.Errorf("%d bytes of rules, and Kubernetes keeps %d in a ConfigMap: put rows into fewer rules, or several sets of nodes", size, maxConfigMap)
	}
	return nil
}

// judge checks what privileges and reloads depend on.
func judge(set *apps.DaemonSet, rules map[string]bool) error {
	pod := set.Spec.Template
	for name, value := range set.Spec.Selector.MatchLabels {
		if pod.Labels[name] != value {
			return fmt.Errorf("the selector wants %s=%s, and the pods do not have it", name, value)
		}
	}
	if !pod.Spec.HostNetwork || pod.Spec.HostPID || pod.Spec.HostIPC {
		return errors.New("of the node's namespaces the pods want that of the network, and no other")
	}
	if len(pod.Spec.NodeSelector) == 0 {
		return errors.New("no label says which nodes")
	}
	for _, v := range pod.Spec.Volumes {
		if v.ConfigMap == nil || !rules[v.ConfigMap.Name] {
			return fmt.Errorf("the volume %s is not one of the ConfigMaps", v.Name)
		}
	}
	if len(pod.Spec.Containers) != 1 || len(pod.Spec.InitContainers) != 0 {
		return errors.New("there is not one container")
	}
	return contained(pod.Spec.Containers[0])
}

// contained checks what a container may do.
func contained(c core.Container) error {
	s := c.SecurityContext
	want := []core.Capability{"BPF", "NET_ADMIN", "PERFMON"}
	switch {
	case s == nil || s.Capabilities == nil || s.Privileged == nil || *s.Privileged:
		return errors.New("the container is privileged, or does not say that it is not")
	case !slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) || !slices.Equal(s.Capabilities.Add, want):
		return fmt.Errorf("the container drops %v and adds %v, not all but %v", s.Capabilities.Drop, s.Capabilities.Add, want)
	case s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation:
		return errors.New("what the container executes may gain privileges")
	case s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem:
		return errors.New("the container may write to its image")
	case c.ReadinessProbe == nil || c.ReadinessProbe.HTTPGet == nil:
		return errors.New("nobody asks whether the rules are attached")
	case !slices.Contains(c.Args, "--follow"):
		return errors.New("the rules are not followed")
	}
	for _, m := range c.VolumeMounts {
		if m.SubPath != "" {
			return fmt.Errorf("%s is mounted by subPath, and never changes", m.MountPath)
		}
	}
	return nil
}
